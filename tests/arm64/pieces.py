# SPDX-License-Identifier: Apache-2.0
"""What provision.sh has put on this machine for arm64, and Python for arm64 as an emulated process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.pieces import LabError, NotProvisioned

HERE = Path(__file__).resolve().parent
PROVISION = HERE / "provision.sh"
HINT = "run tests/arm64/provision.sh"
KERNELS = {4: "kernel", 16: "kernel16k", 64: "kernel64k"}
"""The piece that is a kernel with pages of so many KiB."""
USUAL = ("emulator", "machine", "root", "wheel", "kernel", "kernel64k")
"""What provision.sh makes where nothing is named."""
SKIPPED = "no arm64 tests: "


@dataclass(frozen=True, slots=True)
class Pieces:
    """Paths: the emulators of a process and of a machine, the root for both, the folder of the wheel, the kernels."""

    emulator: Path
    machine: Path
    root: Path
    wheel: Path
    kernel: Path
    kernel16k: Path
    kernel64k: Path

    @property
    def python(self) -> Path:
        """Starts Python for arm64 in an emulated process; it needs the environment that ``run`` sets."""
        return self.root / "usr" / "bin" / "python-emulated"

    def run(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        timeout: float = 280,
        preload: Sequence[str] = ("dontfork",),
    ) -> subprocess.CompletedProcess[str]:
        """Python for arm64 with these arguments, in a folder of this machine. ``preload``: libraries of the wheel's."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
        libraries = ":".join(str(self.wheel / f"{name}.so") for name in preload)
        environment |= {"ARM64_EMULATOR": str(self.emulator), "ARM64_OPTIONS": f"-E LD_PRELOAD={libraries}"} | dict(
            env or {}
        )
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )


def find(*needed: str) -> Pieces:
    """Where the pieces are; raises NotProvisioned with the names of those of ``needed`` (``USUAL``) that are not."""
    asked = subprocess.run(["bash", str(PROVISION), "--paths"], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise LabError(f"{PROVISION} --paths failed: {asked.stderr.strip()}")
    paths = {name: Path(path) for name, _, path in (line.partition("=") for line in asked.stdout.splitlines())}
    missing = [f"{name} ({paths[name]})" for name in needed or USUAL if not paths[name].exists()]
    if missing:
        hint = f"{HINT} pages" if missing[0].startswith("kernel16k") else HINT
        raise NotProvisioned(f"arm64 lacks {', '.join(missing)}: {hint}")
    return Pieces(**paths)


def need_arm64(*needed: str) -> Pieces:
    """For tests: skips where the pieces are not there; fails instead with VFIO_IMS_REQUIRE_VM=1, as in the gate."""
    import pytest

    try:
        return find(*needed)
    except LabError as error:
        if os.environ.get("VFIO_IMS_REQUIRE_VM") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"{SKIPPED}{error}")
