# SPDX-License-Identifier: Apache-2.0
"""A device without a kernel, at work: what vfio-pci does on the way."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.backends.software import ATTACH, CONFIG, PAGE, bus_master, copy_donor
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.errors import UnsupportedError, UsageError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.pci import ConfigImage, ConfigSource, ConfigSpace, decode
from vfio_ims.platform import Platform
from vfio_ims.ports.address_space import AddressSpacePort
from vfio_ims.ports.device import DevicePort
from vfio_ims.ports.values import IrqIndex
from vfio_ims.ports.window import Window


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
