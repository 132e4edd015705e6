# SPDX-License-Identifier: Apache-2.0
"""The server under a foreign client: QEMU, with a stock kernel's vfio-pci above it."""

from __future__ import annotations

import json
import sys

from tests.vm.lab import Guest
from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL
from vfio_ims.drivers.minimal.model import MinimalModel
from vfio_ims.ports.values import RegionIndex
from vfio_ims.vfio_user import Server

PROBE = """
import ctypes, json, mmap, os
from vfio_ims.driver import open_driver
from vfio_ims.names import open_port

def look(name):
    seen = {}
    with open(f"/sys/bus/pci/devices/{name}/config", "rb") as file:
        seen["config"] = file.read().hex()
    with open(f"/sys/bus/pci/devices/{name}/resource") as file:
        start, last = (int(number, 16) for number in file.readline().split()[:2])
        seen["bar0"] = last - start + 1
    with open_driver(name) as device, device.ims.allocate() as irq:
        seen["id"] = device.device.bar(0).read32(0)
        seen["fired"] = []
        for _ in range(5):
            device.fire(irq.slot)
            seen["fired"].append(irq.wait(timeout=5))
    with open_port(name) as port:
        memory = mmap.mmap(-1, 4 << 20)
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        port.space.map(1 << 32, ctypes.addressof(ctypes.c_char.from_buffer(memory)), 4 << 20)
        seen["unmapped"] = port.space.unmap(1 << 32, 4 << 20)
    return seen

print(json.dumps([look(name) for name in os.environ["VFIO_IMS_VM_FUNCTIONS"].split()]))
"""


def test_a_guest_finds_uses_and_leaves_the_devices(tmp_path, fds):
    """One whose slots are trapped, access by access, and one whose slots the guest maps."""
    need_vm()
    models = [MinimalModel(), MinimalModel(map_slots=True)]
    config = models[0].read(RegionIndex.CONFIG, 0, 4096)
    with Server(models[0], tmp_path / "trapped") as trapped, Server(models[1], tmp_path / "mapped") as mapped:
        with Guest(INTEL, [trapped.path, mapped.path]) as guest:
            result = guest.run([sys.executable, "-c", PROBE], timeout=150)
            assert result.returncode == 0, str(result)
            assert "vfio-user" not in result.console, result
            assert "dma_unmap" not in result.console, result
        assert not trapped.faults
        assert not mapped.faults
    for model, seen in zip(models, json.loads(result.stdout), strict=True):
        there = bytes.fromhex(seen["config"])
        assert len(there) == 4096, "extended config space too"
        assert (there[:4], there[8:12], there[44:48]) == (config[:4], config[8:12], config[44:48])
        assert there[256:260] == config[256:260]
        assert seen["bar0"] == model.region_info(0).size
        assert seen["id"] == int.from_bytes(model.read(0, 0, 4), "little")
        assert seen["fired"] == [True] * 5
        assert seen["unmapped"] == 4 << 20
        model.close()
    assert not fds.left()
