# SPDX-License-Identifier: Apache-2.0
"""Power: the function's state in its PM capability, and VFIO's low-power feature."""

from __future__ import annotations

import select
import struct
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError, UnsupportedError, UsageError
from vfio_ims.lifetime import Owner
from vfio_ims.native.events import EventFd
from vfio_ims.pci.capabilities import PowerState
from vfio_ims.ports.values import DeviceFeature, FeatureFlags

if TYPE_CHECKING:
    from vfio_ims.device.config import Config
    from vfio_ims.pci.capabilities import PowerManagement
    from vfio_ims.ports.device import DevicePort

__all__ = ["LowPower", "read_power_state", "write_power_state"]

_CONTROL = 4  # PCIe 6.0 7.5.2.2, "Power Management Control/Status Register"
_PME_STATUS = 1 << 15  # cleared by writing 1


def read_power_state(config: Config, power: PowerManagement | None) -> PowerState:
    """The state that the PM control register holds; D0 for a function without the capability."""
    return PowerState.D0 if power is None else PowerState(config.read(power.offset + _CONTROL, 2) & 3)


def write_power_state(config: Config, power: PowerManagement | None, state: PowerState, name: str) -> None:
    """Change the state and read it back.

    The kernel makes the change, waits as long as it takes, and takes BARs away in D3hot. Raises UnsupportedError where
    the function does not have the state, DeviceError where it is not in it afterwards.
    """
    operation = f"set the power state to {PowerState(state).name}"
    if power is None:
        if state == PowerState.D0:
            return
        raise UnsupportedError(operation, device=name, why="the function has no power management capability")
    if (state == PowerState.D1 and not power.d1) or (state == PowerState.D2 and not power.d2):
        raise UnsupportedError(operation, device=name, why="the function has no such state (PM capabilities register)")
    now = config.read(power.offset + _CONTROL, 2)
    config.write(power.offset + _CONTROL, now & ~(3 | _PME_STATUS) | state, 2)
    reached = read_power_state(config, power)
    if reached != state:
        why = f"it is in {reached.name}: the kernel or the function did not take the change"
        raise DeviceError(operation, device=name, why=why, hint="dmesg | tail")


class LowPower(Owner):
    """The device's permission to sleep (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY), until this is closed.

    Whether and how deep it sleeps is up to the kernel's runtime power management. Windows must not be used meanwhile;
    config space and trapped access wake the device. With ``wakeup`` the first wake-up, by the user's own request or by
    the device's PME, ends the permission, and ``wait`` returns True.
    """

    def __init__(self, port: DevicePort, parent: Owner, *, wakeup: bool = False) -> None:
        self._port = port
        self._event = EventFd() if wakeup else None
        super().__init__(f"{port.name} low power", parent)
        try:
            if self._event is None:
                port.feature(FeatureFlags.SET | DeviceFeature.LOW_POWER_ENTRY)
            else:
                data = struct.pack("=iI", self._event.fileno(), 0)
                port.feature(FeatureFlags.SET | DeviceFeature.LOW_POWER_ENTRY_WITH_WAKEUP, data)
        except BaseException:
            self._closed_by = "a refusal"
            if self._event is not None:
                self._event.close()
            raise

    def fileno(self) -> int:
        """Readable once the device has woken: for a loop of the caller's own. UsageError without ``wakeup``."""
        self.check_open("wait for the wake-up")
        if self._event is None:
            why = "it was entered without a wake-up event"
            raise UsageError("wait for the wake-up", device=self.label, why=why, hint="low_power(wakeup=True)")
        return self._event.fileno()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the device has woken; False after ``timeout`` seconds."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))

    def _release(self) -> None:
        try:
            self._port.feature(FeatureFlags.SET | DeviceFeature.LOW_POWER_EXIT)
        finally:
            if self._event is not None:
                self._event.close()
