# SPDX-License-Identifier: Apache-2.0
"""Power states, low power and the other ways to reset, on a bare device of any mount."""

from __future__ import annotations

import contextlib

import pytest

from tests.behaviour.common import EVERYWHERE, arrives, table_of
from vfio_ims.device import Device
from vfio_ims.errors import DeviceBusy, DeviceError, UnsupportedError, UsageError
from vfio_ims.messages import Message, Slot
from vfio_ims.pci.capabilities import PowerState
from vfio_ims.ports.values import ResetMethod

pytestmark = EVERYWHERE


def test_the_power_state_is_read_and_set(vfio_device: Device) -> None:
    assert vfio_device.power_state is PowerState.D0
    if vfio_device.capabilities.pm is None:
        vfio_device.power_state = PowerState.D0
        with pytest.raises(UnsupportedError, match="D3HOT: the function has no power management"):
            vfio_device.power_state = PowerState.D3HOT
        return
    vfio_device.config.memory = True
    bar = vfio_device.bar(0)
    before = bar.read32(0)
    vfio_device.power_state = PowerState.D3HOT
    assert vfio_device.power_state is PowerState.D3HOT
    with pytest.raises(DeviceError):
        bar.read32(0)
    vfio_device.power_state = PowerState.D0
    assert vfio_device.power_state is PowerState.D0
    assert vfio_device.config.memory
    assert bar.read32(0) == before


def test_vectors_survive_a_sleep(vfio_device: Device) -> None:
    if vfio_device.capabilities.pm is None:
        with pytest.raises(UnsupportedError):
            vfio_device.power_state = PowerState.D3HOT
        return
    vector = vfio_device.interrupts.open_msix(0)
    message = vfio_device.interrupts.msix.message(0)
    vfio_device.power_state = PowerState.D3HOT
    vfio_device.power_state = PowerState.D0
    vfio_device.config.memory = True
    assert vfio_device.interrupts.msix.message(0) == message
    vector.trigger()
    assert arrives(vector)


def test_a_sleeping_device_can_be_reset_and_closed(vfio_device: Device) -> None:
    if vfio_device.capabilities.pm is not None:
        vfio_device.power_state = PowerState.D3HOT
    vfio_device.reset()
    assert vfio_device.power_state is PowerState.D0
    if vfio_device.capabilities.pm is not None:
        vfio_device.power_state = PowerState.D3HOT


def test_every_way_to_reset_clears_the_slots(vfio_device: Device) -> None:
    methods = vfio_device.reset_methods()
    assert methods[0] is ResetMethod.FUNCTION
    with table_of(vfio_device) as table:
        written = Slot(Message(0x1000, 7), masked=True)
        for method in methods:
            notified: list[ResetMethod] = []
            vfio_device.after_reset(lambda seen=notified, one=method: seen.append(one))
            table.write(0, written)
            assert table.read(0).message.address == 0x1000
            with contextlib.suppress(DeviceBusy):  # on a bus with others: test_hot_reset_names_the_functions
                vfio_device.reset(method)
                assert notified == [method]
                vfio_device.config.memory = True
                assert table.read(0).message.address == 0, method


def test_a_way_to_reset_that_is_missing_is_refused(vfio_device: Device) -> None:
    for method in set(ResetMethod) - set(vfio_device.reset_methods()):
        with pytest.raises(UnsupportedError):
            vfio_device.reset(method)


def test_hot_reset_names_the_functions(vfio_device: Device) -> None:
    if ResetMethod.HOT not in vfio_device.reset_methods():
        with pytest.raises(UnsupportedError, match="root bus"):
            vfio_device.hot_reset_scope()
        return
    scope = vfio_device.hot_reset_scope()
    assert any(one.owned for one in scope)
    if all(one.owned for one in scope):
        vfio_device.reset(ResetMethod.HOT)
    else:
        with pytest.raises(DeviceBusy, match=str(next(one for one in scope if not one.owned))):
            vfio_device.reset(ResetMethod.HOT)


def test_low_power_is_entered_and_left(vfio_device: Device) -> None:
    vfio_device.config.memory = True
    bar = vfio_device.bar(0)
    before = bar.read32(0)
    with vfio_device.low_power() as low:
        with pytest.raises(UsageError):
            vfio_device.low_power()
        with pytest.raises(UsageError, match="without a wake-up event"):
            low.wait(0)
        assert vfio_device.config.read(0, 2) != 0xFFFF, "config space wakes it"
    assert bar.read32(0) == before
    with vfio_device.low_power(wakeup=True):
        pass
