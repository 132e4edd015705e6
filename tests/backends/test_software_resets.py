# SPDX-License-Identifier: Apache-2.0
"""Hot reset, affinity and features of software devices: what the platform plays of the kernel."""

from __future__ import annotations

import pytest

import vfio_ims
from vfio_ims.errors import DeviceError, UnsupportedError, UsageError
from vfio_ims.pci.capabilities import PowerState
from vfio_ims.platform import Platform
from vfio_ims.ports.values import AffectedFunction, FeatureFlags, IrqIndex, ResetMethod


def test_a_hot_reset_reaches_the_functions_of_its_bus_and_no_other() -> None:
    platform = Platform()
    places = ("01:00.0", "01:00.1", "02:00.0")
    devices = [vfio_ims.open(f"mock:minimal,bdf={place}", platform=platform) for place in places]
    for device in devices:
        device.config.memory = True
        device.bar(0).write32(0x1000, 0xFEE00000)
    assert devices[0].hot_reset_scope() == (
        AffectedFunction("0000:01:00.0", True),
        AffectedFunction("0000:01:00.1", True),
    )
    assert devices[0].reset_methods()[-1] is ResetMethod.HOT
    devices[0].reset(ResetMethod.HOT)
    assert [device.bar(0).read32(0x1000) for device in devices] == [0, 0, 0xFEE00000]
    assert [device.config.memory for device in devices] == [True, True, True]
    for device in devices:
        device.close()


def test_a_hot_reset_resets_a_function_that_has_no_reset_of_its_own() -> None:
    with vfio_ims.open("mock:minimal,flr=no,bdf=01:00.0") as device:
        assert device.reset_methods() == (ResetMethod.HOT,)
        device.config.memory = True
        device.bar(0).write32(0x1000, 0xFEE00000)
        device.reset(ResetMethod.HOT)
        assert device.bar(0).read32(0x1000) == 0


def test_the_root_bus_has_no_reset() -> None:
    with vfio_ims.open("mock:minimal") as device:
        assert ResetMethod.HOT not in device.reset_methods()
        with pytest.raises(UnsupportedError, match=r"bdf=01:00\.0"):
            device.reset(ResetMethod.HOT)


def test_a_hot_reset_wakes_a_sleeping_function() -> None:
    with vfio_ims.open("mock:intel-dsa,bdf=01:00.0") as device:
        device.power_state = PowerState.D3HOT
        device.reset(ResetMethod.HOT)
        assert device.power_state is PowerState.D0


def test_a_bad_place_is_refused() -> None:
    with pytest.raises(UsageError, match="PCI address"):
        vfio_ims.open("mock:minimal,bdf=nowhere")


def test_a_request_wakes_a_device_and_signals() -> None:
    """A kernel signals only where its runtime power management did put the device to sleep."""
    with vfio_ims.open("mock:minimal") as device, device.low_power(wakeup=True) as low:
        assert not low.wait(0)
        device.config.read(0, 2)
        assert low.wait(5)
        with device.low_power():
            pass


def test_mapped_access_is_refused_in_low_power() -> None:
    with vfio_ims.open("mock:minimal") as device:
        device.config.memory = True
        bar = device.bar(0)
        with device.low_power():
            with pytest.raises(DeviceError, match="leave low power first"):
                bar.read32(0)
            assert device.port.read_region(0, 0, 4) == b"1SMI"
        assert bar.read32(0) == 0x494D_5331


def test_unknown_features_are_refused() -> None:
    with vfio_ims.open("mock:minimal") as device:
        for flags in (FeatureFlags.GET | 99, FeatureFlags.SET | 0, FeatureFlags.GET | 3):
            with pytest.raises(UnsupportedError, match="no such feature"):
                device.port.feature(flags)
        assert device.port.feature(FeatureFlags.PROBE | FeatureFlags.SET | 3) == b""


@pytest.mark.parametrize("remapping", ["yes", "no"])
def test_a_vector_moves_to_the_cpus_that_it_is_given(remapping: str) -> None:
    with vfio_ims.open(f"mock:minimal,remapping={remapping}") as device:
        vector = device.interrupts.open_msix(1)
        before = device.interrupts.msix.message(1)
        cpus = device.port.affinity(IrqIndex.MSIX, 1)
        assert cpus.allowed == {0, 1, 2, 3}
        target = max(cpus.allowed - cpus.effective)
        device.port.set_affinity(IrqIndex.MSIX, 1, {target})
        assert device.port.affinity(IrqIndex.MSIX, 1).effective == {target}
        assert device.port.affinity(IrqIndex.MSIX, 1).allowed == {target}
        assert (device.interrupts.msix.message(1) == before) is (remapping == "yes")
        vector.trigger()
        assert vector.wait(5)
        with pytest.raises(UsageError, match="none of these CPUs is online"):
            device.port.set_affinity(IrqIndex.MSIX, 1, {99})
        with pytest.raises(UsageError, match="not attached"):
            device.port.affinity(IrqIndex.MSIX, 2)
        with pytest.raises(UnsupportedError):
            device.port.affinity(IrqIndex.INTX, 0)
