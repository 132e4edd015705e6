# SPDX-License-Identifier: Apache-2.0
"""What provision.sh has put on this machine. The script alone knows the names in the cache, so it is asked."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROVISION = HERE / "provision.sh"
HINT = "run tests/vm/provision.sh"
SKIPPED = "no VM tests: "
"""How the reason of each test begins that needs a guest and is skipped: tests/conftest.py reports them as one line."""


class LabError(Exception):
    """The lab could not do its part; the command under test is not to blame."""


class NotProvisioned(LabError):
    """A piece of the lab is missing on this machine."""


@dataclass(frozen=True, slots=True)
class Pieces:
    qemu: Path
    kernel: Path
    accel_config: Path
    headers: Path
    dpdk: Path


def find() -> Pieces:
    """Where the pieces are; raises NotProvisioned with the names of those that are not there."""
    asked = subprocess.run(["bash", str(PROVISION), "--paths"], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise LabError(f"{PROVISION.name} --paths failed: {asked.stderr.strip()}")
    paths = {name: Path(path) for name, _, path in (line.partition("=") for line in asked.stdout.splitlines())}
    missing = [f"{name} ({path})" for name, path in paths.items() if not path.exists()]
    if missing:
        raise NotProvisioned(f"the VM lab lacks {', '.join(missing)}: {HINT}")
    return Pieces(**paths)


def need_vm() -> None:
    """For tests: skips where no guest can be started; fails instead where the environment insists on one."""
    try:
        find()
    except LabError as error:
        _lacks(str(error))


def need_open_folders() -> None:
    """For tests in which an ordinary user of the guest runs the package: it has to be able to reach the checkout."""
    for folder in (HERE, *HERE.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            _lacks(f"{folder} is closed to other users, and this test runs as one of them: chmod o+x {folder}")


def _lacks(why: str) -> None:
    import pytest

    if os.environ.get("VFIO_IMS_REQUIRE_VM") == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(f"{SKIPPED}{why}")
