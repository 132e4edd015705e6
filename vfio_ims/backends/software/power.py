# SPDX-License-Identifier: Apache-2.0
"""VFIO's low-power features of a device in software. The platform saves no power: it keeps the kernel's rules.

Facts: the kernel's include/uapi/linux/vfio.h (VFIO_DEVICE_FEATURE_LOW_POWER_*) and drivers/vfio/pci/vfio_pci_core.c
(vfio_pci_core_pm_entry, vfio_pci_core_runtime_resume).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable

from vfio_ims.counted import counted
from vfio_ims.locks import make_lock
from vfio_ims.platform.refusals import refusal
from vfio_ims.platform.vectors import hold_eventfd
from vfio_ims.ports.values import DeviceFeature, FeatureFlags

__all__ = ["LowPower"]

_WAKEUP = struct.Struct("=iI")
_OPERATIONS = FeatureFlags.GET | FeatureFlags.SET | FeatureFlags.PROBE


class LowPower:
    """Whether the user has let the device sleep. ``suspend(on)``: mapped access is off meanwhile.

    With a wake-up event the first request on the device ends it and signals the event; without one the device wakes
    for each request and sleeps again.
    """

    def __init__(self, name: str, suspend: Callable[[bool], None]) -> None:
        self._name, self._suspend = name, suspend
        self._lock = make_lock()
        self._wakeup = -1
        self.engaged = False

    def feature(self, flags: int, data: bytes) -> bytes:
        """VFIO_DEVICE_FEATURE for these features; ENOTTY for others."""
        number, operation = flags & 0xFFFF, FeatureFlags(flags & _OPERATIONS)
        if number not in DeviceFeature.__members__.values() or FeatureFlags.GET in operation:
            raise self._refused(errno.ENOTTY, number, "the software platform has no such feature")
        if FeatureFlags.PROBE in operation:
            return data
        match number:
            case DeviceFeature.LOW_POWER_EXIT:
                self.leave()
            case DeviceFeature.LOW_POWER_ENTRY:
                self._enter(number, -1)
            case _:
                if len(data) != _WAKEUP.size:
                    raise self._refused(
                        errno.EINVAL, number, f"data must be {counted(_WAKEUP.size, 'byte')}, not {len(data)}"
                    )
                self._enter(number, _WAKEUP.unpack(data)[0])
        return data

    def _refused(self, code: int, number: int, why: str) -> Exception:
        known = number in DeviceFeature.__members__.values()
        operation = f"use feature {DeviceFeature(number).name if known else number}"
        return refusal(code, operation, device=self._name, why=why)

    def _enter(self, number: int, wakeup: int) -> None:
        with self._lock:
            if self.engaged:
                raise self._refused(errno.EINVAL, number, "it is in low power already")
            self._wakeup = hold_eventfd(wakeup) if wakeup >= 0 else -1
            self.engaged = True
        self._suspend(True)

    def leave(self) -> None:
        """Low power ends; nothing is signalled."""
        with self._lock:
            self.engaged = False
            wakeup, self._wakeup = self._wakeup, -1
        if wakeup >= 0:
            os.close(wakeup)
        self._suspend(False)

    def touched(self) -> None:
        """The user makes a request on the device."""
        if self._wakeup < 0:
            return
        with self._lock:
            wakeup, self._wakeup = self._wakeup, -1
            self.engaged = False
        if wakeup >= 0:
            os.eventfd_write(wakeup, 1)
            os.close(wakeup)
            self._suspend(False)
