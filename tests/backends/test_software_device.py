# SPDX-License-Identifier: Apache-2.0
"""A device without a kernel, from open to close: what vfio-pci does on the way, and what must not be left."""

from __future__ import annotations

import errno
import gc
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.backends.software.space import SoftwareAddressSpace
from vfio_ims.errors import BusFault, ClosedError, DeviceBusy, RemovedError, UnsupportedError, UsageError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.pci import ConfigImage, ConfigSource, ConfigSpace, decode
from vfio_ims.platform import Platform
from vfio_ims.ports.address_space import AddressSpacePort
from vfio_ims.ports.device import DevicePort
from vfio_ims.ports.values import IrqIndex, IrqSet
from vfio_ims.ports.window import Window

ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
CONFIG, PAGE = 7, 4096


@pytest.fixture
def eventfd():
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


@pytest.fixture
def memory():
    with SharedMemory(8 * PAGE) as shared:
        yield shared


def bus_master(device, on: bool = True) -> None:
    device.write_region(CONFIG, 4, bytes([6 if on else 2, 0]))


def copy_donor(window, slot: int, vector: int) -> None:
    window.write64(0x1000 + 16 * slot, window.read64(0x2000 + 16 * vector))
    window.write32(0x1008 + 16 * slot, window.read32(0x2008 + 16 * vector))


def fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_it_is_a_device_port(open_little, platform) -> None:
    device = open_little(platform)
    port: DevicePort = device
    space: AddressSpacePort = device.space
    window: Window = device.window(0)
    assert isinstance(port, DevicePort)
    assert (port.name, port.mount, port.settle) == ("little", "mock", 0.02)
    assert space.page_sizes() & -space.page_sizes() == PAGE
    assert window.size == 0x4000
    assert [port.irq_info(index).count for index in IrqIndex] == [1, 4, 8, 1, 1]
    assert port.region_info(0).msix_mappable
    assert port.region_info(1).size == 0
    for call in (lambda: port.region_info(99), lambda: port.irq_info(5)):
        with pytest.raises(UsageError):
            call()


def test_a_donors_message_in_a_slot_fires_the_donors_eventfd(open_little, platform, eventfd) -> None:
    device = open_little(platform)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 3, 1, [eventfd])
    window = device.window(0)
    copy_donor(window, 5, 3)
    window.write32(0x08, 5)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(eventfd)
    bus_master(device)
    window.write32(0x08, 5)
    assert os.eventfd_read(eventfd) == 1


def test_open_resets_and_clears_bus_master_and_close_does_again(little, platform) -> None:
    model = little()
    model.config[4] = 6
    device = SoftwareDevice(InProcessLink(model), platform)
    assert model.resets == 1
    assert model.config[4] == 2
    bus_master(device)
    device.close()
    device.close()
    assert (model.resets, model.closes) == (2, 1)
    assert model.config[4] & 4 == 0
    assert platform.functions == ()


def test_without_a_reset_slots_survive_a_close_and_fire_for_the_next_user(little, platform, eventfd) -> None:
    """Why slots are quiesced on open, before bus mastering is set."""
    model = little(flr=False)
    with SoftwareDevice(InProcessLink(model, keep=True), platform) as first:
        first.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
        copy_donor(first.window(0), 0, 0)
        requester = first.function.requester
    with SoftwareDevice(InProcessLink(model, keep=True), platform, requester=requester) as second:
        assert model.resets == 0
        assert second.window(0).read64(0x1000) != 0
        own = os.eventfd(0, os.EFD_NONBLOCK)
        second.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [own])
        bus_master(second)
        second.window(0).write32(0x08, 0)
        assert os.eventfd_read(own) == 1
        with pytest.raises(BlockingIOError):
            os.eventfd_read(eventfd)
        os.close(own)
        with pytest.raises(UnsupportedError, match="no reset"):
            second.reset()
    model.close()


def test_reset_keeps_donors_command_and_messages(open_little, platform, eventfd) -> None:
    device = open_little(platform)
    window = device.window(0)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    bus_master(device)
    at = device.state.config.raw.express.offset + 8
    device.write_region(CONFIG, at, (0x10).to_bytes(2, "little"))
    copy_donor(window, 0, 0)
    before, config = window.read_block(0x2000, 32), device.read_region(CONFIG, 0, 256)
    device.reset()
    assert window.read_block(0x2000, 32) == before
    assert device.read_region(CONFIG, 0, 256) == config
    assert window.read64(0x1000) == 0, "the device's own slots are gone"
    copy_donor(window, 0, 0)
    window.write32(0x08, 0)
    assert os.eventfd_read(eventfd) == 1


def test_a_slot_that_points_nowhere_is_logged_and_the_rest_goes_on(open_little, platform, eventfd) -> None:
    device = open_little(platform)
    bus_master(device)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    model, window = device.link.model, device.window(0)
    copy_donor(window, 1, 0)
    with model.lock:
        for slot in (0, 0, 1):
            model.write(0, 0x08, slot.to_bytes(4, "little"))
    window.read32(0)
    assert os.eventfd_read(eventfd) == 1
    assert [fault.address for fault in platform.faults] == [0, 0]


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


def test_use_after_close(open_little, platform) -> None:
    device = open_little(platform)
    space = device.space
    device.close()
    for call in (
        lambda: device.window(0),
        lambda: device.read_region(0, 0, 4),
        lambda: device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 0),
        device.reset,
        device.device_info,
        lambda: device.attach_pasid(1, space),
        lambda: space.map(0, PAGE, PAGE),
    ):
        with pytest.raises(ClosedError):
            call()


def test_no_descriptor_and_no_thread_is_left(little, platform, eventfd) -> None:
    SoftwareDevice(InProcessLink(little(shared=True)), platform).close()
    before, threads = fds(), threading.active_count()
    for _ in range(3):
        device = SoftwareDevice(InProcessLink(little(shared=True)), platform)
        device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 8, [eventfd] * 8)
        window = device.window(0)
        window.read32(0x1000)
        device.close()
    del device, window
    gc.collect()
    assert (fds(), threading.active_count()) == (before, threads)


def test_a_device_that_was_not_closed_says_so_and_is(little, platform, eventfd) -> None:
    before = fds()
    device = SoftwareDevice(InProcessLink(little()), platform)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    with pytest.warns(ResourceWarning, match="little was not closed") as caught:  # noqa: PT031
        del device
        gc.collect()
    assert len(caught) == 1
    assert fds() == before
    assert platform.functions == ()


@pytest.mark.parametrize("fails", ["device_info", "reset", "region_info", "irq_info", "read"])
def test_an_open_that_fails_leaves_nothing(little, platform, fails) -> None:
    before = fds()
    model = little(shared=True)
    link = InProcessLink(model)

    def fail(*_: object) -> object:
        raise RemovedError(fails, device="little", why="unplugged")

    setattr(link, fails, fail)
    with pytest.raises(RemovedError, match="unplugged"):
        SoftwareDevice(link, platform)
    assert platform.functions == ()
    assert model.closes == 1
    assert fds() == before


def test_close_when_the_far_side_is_gone(little, platform, eventfd) -> None:
    before = fds()
    link = InProcessLink(little())
    device = SoftwareDevice(link, platform)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])

    def gone(*_: object, **__: object) -> object:
        raise RemovedError("access", device="little")

    for name in ("read", "write", "reset", "set_vectors", "unmap"):
        setattr(link, name, gone)
    device.close()
    assert fds() == before
    assert platform.functions == ()


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


def test_a_forked_child_does_nothing_to_its_parents_device(little, platform, eventfd) -> None:
    model = little()
    device = SoftwareDevice(InProcessLink(model), platform)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    window = device.window(0)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            refused = 0
            for call in (lambda: window.read32(0), lambda: device.read_region(0, 0, 4), device.reset):
                try:
                    call()
                except ClosedError as error:
                    refused += "fork" in str(error)
            device.close()
            kept = device.irqs.msix.vectors[0].fd
            code = 0 if (refused, model.closes, kept) == (3, 0, -1) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert window.read32(0) == int.from_bytes(b"SMIT", "little")
    bus_master(device)
    window.write32(0x04, 0)
    assert os.eventfd_read(eventfd) == 1
    device.close()


def test_many_threads(open_little, platform) -> None:
    """Registers, vectors, mappings and resets at once: nothing raises, nothing stands still."""
    device = open_little(Platform(merge="random", seed=1))
    bus_master(device)
    window = device.window(0)
    problems: list[Exception] = []
    stop = threading.Event()

    def loop(step) -> None:
        try:
            while not stop.is_set():
                step()
        except Exception as error:  # noqa: BLE001
            problems.append(error)

    own = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]

    def vectors() -> None:
        device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 2, own)
        copy_donor(window, 0, 1)
        device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 2, [-1, -1])

    with SharedMemory(PAGE) as memory:

        def mapping() -> None:
            device.space.map(0x10000, memory.address, PAGE)
            device.space.unmap(0x10000, PAGE)

        steps = [lambda: window.write32(0x08, 0), lambda: window.write32(0x04, 1), vectors, mapping, device.reset]
        threads = [threading.Thread(target=loop, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        stop.wait(0.5)
        stop.set()
        for thread in threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in threads)
    assert not problems
    for fd in own:
        os.close(fd)


class Failing:
    """A link whose every call from the n-th on says that the device is gone."""

    def __init__(self, link: InProcessLink, good: int) -> None:
        self._link, self.left = link, good

    def __getattr__(self, name: str) -> object:
        value = getattr(self._link, name)
        if not callable(value) or name == "close":
            return value

        def call(*arguments: object, **named: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise RemovedError(name, device="little", why="unplugged")
            return value(*arguments, **named)

        return call


def test_a_device_lost_at_any_call_leaves_nothing(little, platform, eventfd, memory) -> None:
    before = fds()
    for good in range(1000):
        model = little(shared=True)
        link = Failing(InProcessLink(model), good)
        done = False
        try:
            with SoftwareDevice(link, platform) as device:
                device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 2, [eventfd, eventfd])
                device.space.map(0x10000, memory.address, PAGE)
                bus_master(device)
                window = device.window(0)
                copy_donor(window, 0, 1)
                window.write32(0x08, 0)
                device.reset()
                device.space.unmap(0x10000, PAGE)
                done = link.left >= 0
        except RemovedError:
            pass
        assert model.closes == 1
        assert fds() == before
        assert platform.functions == ()
        if done and link.left >= 0:
            break
    assert 30 < good < 900


def test_a_model_that_fails_in_its_reset_does_not_keep_the_rest(little, platform, eventfd) -> None:
    before = fds()
    model = little()
    device = SoftwareDevice(InProcessLink(model), platform)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])

    def broken() -> None:
        raise KeyError("a mistake in the model")

    model.reset = broken
    with pytest.raises(KeyError):
        device.close()
    assert model.closes == 1
    assert fds() == before
    assert platform.functions == ()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0x34, 0x1FF), st.integers(0, 255)), max_size=8))
def test_any_config_space_opens_or_is_refused_in_words(little, changes) -> None:
    model = little()
    image = bytearray(model.image.data)
    for offset, value in changes:
        image[offset] = value
    model.image = ConfigImage(bytes(image), model.image.writable, model.image.w1c)
    with SoftwareDevice(InProcessLink(model), Platform()) as device:
        assert len(device.read_region(CONFIG, 0, 4096)) == 4096
        shown = decode(ConfigSpace(device.read_region(CONFIG, 0, 4096), ConfigSource.VFIO))
        assert 0x1B not in {item.id for item in shown.extended}
        count = device.irq_info(IrqIndex.MSIX).count
        if count:
            fd = os.eventfd(0)
            device.set_irqs(IrqIndex.MSIX, ATTACH, count - 1, 1, [fd])
            os.close(fd)
        device.window(0).read_block(0, 0x1000)
