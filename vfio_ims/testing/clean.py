# SPDX-License-Identifier: Apache-2.0
"""Between two tests on a device that stays open: what the first left is closed, and a device in doubt is reset."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfio_ims.counted import counted
from vfio_ims.errors import VfioImsError
from vfio_ims.ports.covers import Covered
from vfio_ims.testing.state import domains_of, driver_of

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ims import ImsDomain
    from vfio_ims.lifetime import Owner

__all__ = ["Cleaner", "DeviceNotClean", "restart"]

_PACKAGE = str(Path(__file__).resolve().parents[1])
_SLOTS = ("allocate", "allocate_group", "allocate_polled", "allocate_polled_group")


class DeviceNotClean(UserWarning):
    """A test left a device that further tests use as it should not be; the text says what was done about it."""


class _Made:
    """What test code itself makes of one device; what a driver makes for its own use stays."""

    def __init__(self, device: Device) -> None:
        self._device, self._covered = weakref.ref(device), Covered()
        self._own = {_PACKAGE, *_folder_of(device)}
        self.slots: list[tuple[ImsDomain, int]] = []
        self.others: list[weakref.ref[Owner]] = []
        for domain in domains_of(device):
            for name in _SLOTS:
                self._cover(domain, name, partial(self._add_slots, domain))
        self._cover(device.dma, "allocate", self._add)
        self._cover(device.dma, "map", self._add)
        self._cover(device.interrupts, "open_msix", self._add)

    def _cover(self, target: Any, name: str, add: Callable[[Any], None]) -> None:
        def make(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any, **named: Any) -> Any:
                made = call(*arguments, **named)
                caller = sys._getframe(1).f_code.co_filename
                if not any(caller.startswith(folder) for folder in self._own):
                    add(made)
                return made

            return called

        self._covered.cover(target, name, make)

    def _add_slots(self, domain: ImsDomain, made: Any) -> None:
        owners: Iterable[Any] = made if hasattr(made, "__iter__") else (made,)
        self.slots += [(domain, owner.slot) for owner in owners]

    def _add(self, made: Owner) -> None:
        self.others.append(weakref.ref(made))

    def end(self) -> None:
        self._covered.uncover()

    def left(self) -> list[str]:
        """Close what is still there; what it was, in words."""
        slots = [(domain, slot) for domain, slot in self.slots if not domain.closed and slot in domain.allocated]
        others = [one for reference in self.others if (one := reference()) is not None and not one.closed]
        found = []
        for domain, slot in slots:
            domain.release([slot], "vfio_clean, after the test that allocated it")
        if slots:
            found.append(counted(len(slots), "slot") + " allocated: " + ", ".join(str(slot) for _, slot in slots))
        for one in reversed(others):
            found.append(f"{one.label} open")
            one.close()
        return found


class Cleaner:
    """``begin`` before a test's own code, ``end`` once its fixtures are gone."""

    def __init__(self) -> None:
        self._made: list[tuple[weakref.ref[Device], _Made]] = []

    def begin(self, devices: Iterable[Device]) -> None:
        self._made = [(weakref.ref(device), _Made(device)) for device in devices if device.loss is None]

    def end(self, *, failed: bool) -> list[str]:
        """What was not clean, a line for each device that is still open. Resets one that a failed test had."""
        made, self._made = self._made, []
        found = []
        for reference, one in made:
            one.end()
            device = reference()
            if device is None or device.closed or device.loss is not None:
                continue
            left = one.left()
            fault = _fault_of(device)
            if fault or failed:
                restart(device)
            if left or fault:
                parts = [f"the test left {', '.join(left)}: closed"] if left else []
                parts += [f"{fault}: reset"] if fault else []
                found.append(f"{device.label}: {'; '.join(parts)}")
        return found


def restart(device: Device) -> None:
    """Reset the device, with its driver where one runs."""
    driver = driver_of(device)
    if driver is not None:
        driver.reset()
    elif device.can_reset:
        device.reset()


def _fault_of(device: Device) -> str:
    """How the device is not as its driver started it; "" where it is. Reads it."""
    driver = driver_of(device)
    if driver is None:
        return ""
    try:
        for domain in domains_of(device):
            domain.check()
    except VfioImsError as error:
        return error.why or str(error)
    return driver.fault()


def _folder_of(device: Device) -> list[str]:
    """Where the code of the device's driver is."""
    driver = driver_of(device)
    module = None if driver is None else sys.modules.get(type(driver).__module__)
    file = getattr(module, "__file__", None)
    return [] if file is None else [str(Path(file).resolve().parent)]
