# SPDX-License-Identifier: Apache-2.0
"""Address spaces of devices without a kernel: shared by several, PASIDs, mappings that a link learns of."""

from __future__ import annotations

import errno
import threading

import pytest

from tests.backends.software import PAGE, bus_master
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.backends.software.space import SoftwareAddressSpace
from vfio_ims.errors import BusFault, DeviceBusy, RemovedError, UnsupportedError, UsageError
from vfio_ims.platform import Platform


def test_two_devices_share_an_address_space(open_little, platform, memory) -> None:
    space = SoftwareAddressSpace(platform)
    first, second = open_little(platform, "a", space=space), open_little(platform, "b", space=space)
    space.map(0x10000, memory.address, PAGE)
    for number, device in enumerate((first, second), 1):
        bus_master(device)
        window = device.window(0)
        window.write64(0x18, 0x10000 + 8 * number)
        window.write64(0x40, number)
        window.write32(0x10, 1)
    assert memory.view[8:24].tobytes() == (1).to_bytes(8, "little") + (2).to_bytes(8, "little")
    first.close()
    assert not space.closed
    second.function.read(0x10000, 1)
    assert space.unmap(0x10000, PAGE) == PAGE
    with pytest.raises(BusFault):
        second.function.read(0x10000, 1)
    space.close()


def test_a_space_of_another_platform_is_refused(open_little, platform) -> None:
    foreign = SoftwareAddressSpace(Platform())
    with pytest.raises(UsageError, match="different software platforms"):
        open_little(platform, space=foreign)
    assert platform.functions == ()
    foreign.close()


def test_pasids(open_little, platform, memory) -> None:
    device = open_little(platform)
    bus_master(device)
    own = SoftwareAddressSpace(platform, "PASID 5")
    own.map(0x10000, memory.address, PAGE)
    device.attach_pasid(5, own)
    device.function.write(0x10000, b"tagged", 5)
    assert memory.view[:6] == b"tagged"
    with pytest.raises(DeviceBusy, match="detach PASID 5 first"):
        device.attach_pasid(5, own)
    with pytest.raises(UsageError, match="1 to 1048575"):
        device.attach_pasid(1 << 20, own)
    device.detach_pasid(5)
    with pytest.raises(BusFault):
        device.function.write(0x10000, b"tagged", 5)
    with pytest.raises(UsageError, match="not attached"):
        device.detach_pasid(5)
    device.attach_pasid(5, own)
    device.close()
    own.close()


def test_who_cannot_take_pasids_says_so(open_little) -> None:
    platform = Platform(pasids=False)
    device = open_little(platform)
    with pytest.raises(UnsupportedError, match="IOMMU takes no PASIDs") as caught:
        device.attach_pasid(1, device.space)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_a_link_learns_of_mappings_and_can_refuse(little, platform, memory) -> None:
    calls: list[tuple[object, ...]] = []

    class Telling(InProcessLink):
        refuse = False

        def map(self, iova, size, fd, offset, *, read, write):
            if self.refuse:
                raise RemovedError("map", device=self.name)
            calls.append(("map", iova, size, fd, offset, read, write))

        def unmap(self, iova, size):
            calls.append(("unmap", iova, size))

    space = SoftwareAddressSpace(platform)
    space.map(0x10000, memory.address, PAGE, write=False, fd=memory.fd, offset=0)
    first = SoftwareDevice(Telling(little()), platform, "a", space)
    second = SoftwareDevice(Telling(little()), platform, "b", space)
    assert calls == [("map", 0x10000, PAGE, memory.fd, 0, True, False)] * 2
    calls.clear()
    second.link.refuse = True
    with pytest.raises(RemovedError):
        space.map(0x20000, memory.address, PAGE)
    assert calls == [("map", 0x20000, PAGE, -1, 0, True, True), ("unmap", 0x20000, PAGE)]
    assert space.unmap(0x20000, PAGE) == 0
    calls.clear()
    assert space.unmap(0, 1 << 40) == PAGE
    assert calls == [("unmap", 0x10000, PAGE)] * 2
    first.close()
    second.close()
    space.close()


def test_unmap_waits_for_a_model_that_is_at_work_in_the_memory(little, platform, memory) -> None:
    model = little()
    inside, leave, done = threading.Event(), threading.Event(), threading.Event()

    def act() -> None:
        if model.bus is not None and not inside.is_set() and model.memory[0x80]:
            (view,) = model.bus.views(0x10000, 4, write=True)
            inside.set()
            leave.wait(5)
            view[:] = b"late"

    model.act = act
    with SoftwareDevice(InProcessLink(model), platform) as device:
        device.space.map(0x10000, memory.address, PAGE)
        bus_master(device)
        window = device.window(0)
        worker = threading.Thread(target=window.write32, args=(0x80, 1))
        worker.start()
        assert inside.wait(5)

        def unmap() -> None:
            device.space.unmap(0x10000, PAGE)
            done.set()

        unmapper = threading.Thread(target=unmap)
        unmapper.start()
        assert not done.wait(0.05)
        leave.set()
        assert done.wait(5)
        assert memory.view[:4] == b"late"
        worker.join()
        unmapper.join()
