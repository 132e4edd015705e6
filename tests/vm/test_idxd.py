# SPDX-License-Identifier: Apache-2.0
"""DSA and IAA under a real kernel: what ``tests/intel_idxd/test_mounts.py`` does on every mount, here on its VFIO.

All of it through iommufd; the operations through a type1 container, too, whose mappings are made another way.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.vm.lab import Guest
from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL
from vfio_ims.drivers.intel_idxd.model import DsaModel, IaaModel
from vfio_ims.vfio_user import Server

RUN = """
import os, sys
import pytest
names = os.environ["VFIO_IMS_VM_FUNCTIONS"].split()
named = [f"{name},iommu={interface}" for interface in ("iommufd", "type1") for name in names]
chosen = "iommufd or operations_over or batches or operation_of_iaa"
devices = ["-k", chosen, *(word for name in named for word in ("--vfio-device", name))]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", ".", "tests/intel_idxd/test_mounts.py", *devices]))
"""


def test_operations_and_every_slot_under_a_kernel(tmp_path: Path) -> None:
    need_vm()
    models = DsaModel(), IaaModel()
    with (
        Server(models[0], tmp_path / "dsa") as dsa,
        Server(models[1], tmp_path / "iaa") as iaa,
        Guest(INTEL, [dsa.path, iaa.path]) as guest,
    ):
        result = guest.run([sys.executable, "-c", RUN], timeout=500)
        assert result.returncode == 0, result
        assert "19 passed" in result.stdout, result
    for model in models:
        model.close()
