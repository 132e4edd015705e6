# SPDX-License-Identifier: Apache-2.0
"""What the lab does before it starts a guest; runs anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm.lab import REPO, Guest
from tests.vm.pieces import HERE, NotProvisioned
from tests.vm.platforms import AMD, INTEL

EDU = {"driver": "edu"}


def test_an_unprovisioned_machines_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VFIO_IMS_CACHE", str(tmp_path))
    with pytest.raises(NotProvisioned, match=r"lacks qemu .*, kernel .*: run tests/vm/provision\.sh"):
        Guest(INTEL)


def test_functions_are_seated_in_order_and_amd_keeps_its_southbridge_seat() -> None:
    _, addresses = INTEL.place(["/run/a.sock", EDU, {"driver": "edu", "addr": "12.1"}, {"driver": "edu", "bus": "rp"}])
    assert addresses == ["0000:00:10.0", "0000:00:11.0", "0000:00:12.1"]
    options, addresses = AMD.place([EDU, "/run/a.sock", "/run/b.sock", EDU, EDU, EDU, EDU])
    assert addresses == [f"0000:00:{slot}.0" for slot in (10, 14, 11, 12, 13, 15, 16)]
    assert not any("virtio-blk" in option for option in options)
    assert any("virtio-blk" in option for option in AMD.place([EDU])[0])


def test_without_the_lab_one_line_counts_the_tests_that_need_it(tmp_path: Path) -> None:
    files = ("test_idxd.py", "test_matrix_platforms.py", "test_lab.py")
    environment = {name: value for name, value in os.environ.items() if name != "VFIO_IMS_REQUIRE_VM"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(str(HERE / name) for name in files)],
        env=environment | {"VFIO_IMS_CACHE": str(tmp_path), "NO_COLOR": "1"},
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    lines = done.stdout.splitlines()
    skipped = [line for line in lines if line.startswith("SKIPPED") and "VFIO_IMS_FULL" not in line]  # left to nightly
    assert len(skipped) == 1, done.stdout
    assert "no VM tests" in skipped[0]
    assert skipped[0].endswith("run tests/vm/provision.sh")
