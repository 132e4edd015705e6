# SPDX-License-Identifier: Apache-2.0
"""DSA and IAA under a real kernel: what ``tests/intel_idxd/test_mounts.py`` does on every mount, here on its VFIO.

All of it through iommufd; the operations through a type1 container, too, whose mappings are made another way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.vm.lab import Guest
from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL
from vfio_ims.drivers.intel_idxd.model import DsaModel, IaaModel
from vfio_ims.vfio_user import Server

BY_MESSAGE = """
import os, sys
import vfio_ims
size = 1 << 20
with vfio_ims.open_driver(os.environ["VFIO_IMS_VM_FUNCTIONS"] + ",iommu=" + sys.argv[1]) as driver:
    memory = driver.device.dma.allocate(2 * size)
    memory.view[:size] = os.urandom(size)
    with driver.wq(0, "ims") as wq:
        wq.memmove(memory.iova + size, memory.iova, size)
    assert memory.view[size:] == memory.view[:size]
    print(driver.status() or "copied")
"""
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
        assert result.returncode == 0, str(result)
        assert "21 passed" in result.stdout, result
    for model in models:
        model.close()


@pytest.fixture(scope="module")
def not_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    need_vm()
    folder = tmp_path_factory.mktemp("not-shared")
    with (
        closing(DsaModel()) as model,
        Server(model, folder / "dsa") as dsa,
        Guest(INTEL, [dsa.path], share_memory=False) as guest,
    ):
        yield guest


@pytest.mark.parametrize("interface", ["iommufd", "type1"])
def test_a_guest_that_does_not_share_its_memory(not_shared: Guest, interface: str) -> None:
    """The model reads and writes the guest's memory by messages alone: 1 MiB, and its completion through a slot."""
    result = not_shared.run([sys.executable, "-c", BY_MESSAGE, interface])
    assert (result.returncode, result.stdout) == (0, "copied\n"), result
