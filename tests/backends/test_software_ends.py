# SPDX-License-Identifier: Apache-2.0
"""How a device without a kernel ends: closed, failed, lost or forked, nothing is left of it."""

from __future__ import annotations

import gc
import os

import pytest

from tests.backends.software import ATTACH, PAGE, bus_master, copy_donor
from tests.descriptors import Descriptors
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.errors import ClosedError, RemovedError
from vfio_ims.ports.values import IrqIndex
from vfio_ims.testing import held


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
    before = held()
    for _ in range(3):
        device = SoftwareDevice(InProcessLink(little(shared=True)), platform)
        device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 8, [eventfd] * 8)
        window = device.window(0)
        window.read32(0x1000)
        device.close()
    del device, window
    assert not held().since(before)


def test_a_device_that_was_not_closed_says_so_and_is(little, platform, eventfd) -> None:
    before = Descriptors()
    device = SoftwareDevice(InProcessLink(little()), platform)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    with pytest.warns(ResourceWarning, match="little was not closed") as caught:  # noqa: PT031
        del device
        gc.collect()
    assert len(caught) == 1
    assert not before.left()
    assert platform.functions == ()


@pytest.mark.parametrize("fails", ["device_info", "reset", "region_info", "irq_info", "read"])
def test_an_open_that_fails_leaves_nothing(little, platform, fails) -> None:
    before = Descriptors()
    model = little(shared=True)
    link = InProcessLink(model)

    def fail(*_: object) -> object:
        raise RemovedError(fails, device="little", why="unplugged")

    setattr(link, fails, fail)
    with pytest.raises(RemovedError, match="unplugged"):
        SoftwareDevice(link, platform)
    assert platform.functions == ()
    assert model.closes == 1
    assert not before.left()


def test_close_when_the_far_side_is_gone(little, platform, eventfd) -> None:
    before = Descriptors()
    link = InProcessLink(little())
    device = SoftwareDevice(link, platform)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])

    def gone(*_: object, **__: object) -> object:
        raise RemovedError("access", device="little")

    for name in ("read", "write", "reset", "set_vectors", "unmap"):
        setattr(link, name, gone)
    device.close()
    assert not before.left()
    assert platform.functions == ()


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
    before = Descriptors()
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
        assert not before.left()
        assert platform.functions == ()
        if done and link.left >= 0:
            break
    assert 30 < good < 900


def test_a_model_that_fails_in_its_reset_does_not_keep_the_rest(little, platform, eventfd) -> None:
    before = Descriptors()
    model = little()
    device = SoftwareDevice(InProcessLink(model), platform)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])

    def broken() -> None:
        raise KeyError("a mistake in the model")

    model.reset = broken
    with pytest.raises(KeyError):
        device.close()
    assert model.closes == 1
    assert not before.left()
    assert platform.functions == ()
