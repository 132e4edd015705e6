# SPDX-License-Identifier: Apache-2.0
"""Memory and descriptors on a real kernel: dma_in_guest.py behind an IOMMU, noiommu_in_guest.py without one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.vm.lab import Guest, Result
from tests.vm.pieces import need_open_folders, need_vm
from tests.vm.platforms import INTEL, NO_IOMMU, Function, Platform
from vfio_ims.testing.server import ServedModel

HERE = Path(__file__).parent
SECONDS = 500
pytestmark = pytest.mark.timeout(SECONDS + 100)
EDU = {"driver": "edu", "dma_mask": (1 << 64) - 1}


@pytest.fixture(scope="module", autouse=True)
def _provisioned() -> None:
    need_vm()


def run(platform: Platform, functions: Sequence[Function], script: str) -> Result:
    with Guest(platform, functions) as guest:
        suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout"]
        alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plug-ins are slow to import under emulation
        return guest.run([*suite, str(HERE / script)], env=alone, timeout=SECONDS)


def check(result: Result) -> None:
    assert result.returncode == 0, str(result)
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout


def test_memory_and_descriptors_behind_an_iommu() -> None:
    need_open_folders()
    check(run(INTEL, [EDU, EDU], "dma_in_guest.py"))


def test_without_an_iommu(tmp_path: Path) -> None:
    model = ServedModel("minimal", tmp_path)
    try:
        result = run(NO_IOMMU, [EDU, EDU, model.path], "noiommu_in_guest.py")
    finally:
        model.close()
    check(result)
