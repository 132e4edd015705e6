# SPDX-License-Identifier: Apache-2.0
"""Whether a test runs on its device now: one that it is for, that is not lost, and that no other process tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vfio_ims.errors import DeviceBusy, RemovedError, VfioImsError
from vfio_ims.testing.device_lock import DeviceLock
from vfio_ims.testing.named import lock_name, same_device
from vfio_ims.testing.tracebacks import UNUSABLE

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.testing.marker import Wanted
    from vfio_ims.testing.opened import OpenDevices
    from vfio_ims.testing.places import Place, Places

__all__ = ["Admission"]

_GONE = 0xFFFF  # what a read of a function returns that does not answer


class Admission:
    """``wait``: seconds for a device that another process tests. ``opened``: what tests have open."""

    def __init__(self, places: Places, opened: OpenDevices, wait: float) -> None:
        self._places, self._opened, self._wait = places, opened, wait
        self._locks: dict[str, DeviceLock] = {}
        self._suspect: dict[str, str] = {}  # where the last test found the device gone: it may be back
        self._lost: dict[str, str] = {}

    def admit(self, place: Place, wanted: Wanted, test: str) -> None:
        """Return with the device's lock held, or skip or fail the test with the reason."""
        if place.kind == "none":
            pytest.skip(place.name)
        if place.kind != "device":
            if lacks := self._places.lacks(place, wanted):
                pytest.skip(lacks)
            return
        if place.name not in self._lost:
            self._take(place.name)
            try:
                self._judge(place, wanted, test)
            except BaseException:
                self.leave(place)
                raise
        if place.name in self._lost:
            pytest.skip(self._lost[place.name])  # in one place: pytest folds what was skipped for one reason

    def _judge(self, place: Place, wanted: Wanted, test: str) -> None:
        if self._is_lost(place.name):
            return self.leave(place)
        try:
            reason = self._places.unfit(place.name, wanted)
            homeless = self._places.homeless(wanted) if reason and self._places.require else ""
        except UNUSABLE as error:
            self.failed(place, test, error)
            pytest.fail(str(error), pytrace=False)
        if homeless:
            pytest.fail(f"no device for this test: {homeless}", pytrace=False)
        if reason:
            pytest.skip(reason)
        return None

    def _take(self, name: str) -> None:
        key = lock_name(name)
        if key:
            try:
                self._locks.setdefault(key, DeviceLock(key)).acquire(self._wait)
            except DeviceBusy as busy:
                pytest.fail(str(busy), pytrace=False)

    def leave(self, place: Place) -> None:
        """Let other processes have the device, unless something here keeps it open for further tests."""
        if place.kind == "device" and not self._opened.named(place.name):
            lock = self._locks.get(lock_name(place.name))
            if lock is not None:
                lock.release()

    def close(self) -> None:
        for lock in self._locks.values():
            lock.release()

    # --- loss ---------------------------------------------------------------------------------------------------------

    def failed(self, place: Place, test: str, error: BaseException) -> None:
        """A test failed: see whether that was because its device is gone, or cannot be opened."""
        if place.kind != "device" or place.name in self._lost:
            return
        opened = self._opened.named(place.name)
        test = test.partition("[")[0]
        why = error.why if isinstance(error, VfioImsError) else ""
        if isinstance(error, RemovedError) or any(device.loss is not None for device in opened):
            losses = [device.loss.why for device in opened if device.loss is not None]
            self._suspect[place.name] = f"{place.name} was lost in {test}: {why or ''.join(losses[:1])}"
        elif isinstance(error, UNUSABLE) and not opened and same_device(error.device, place.name):
            self._suspect[place.name] = f"{place.name} could not be opened in {test}: {error.operation}: {why}"
        elif lock_name(place.name) and any(_silent(device) for device in opened):
            self._suspect[place.name] = f"{place.name} was lost in {test}: its config space reads all ones"

    def _is_lost(self, name: str) -> bool:
        """Whether the device is gone for good. One that answers again is not, unless what is open of it is dead."""
        reason = self._suspect.pop(name, "")
        if reason and (self._opened.named(name) or (lock_name(name) and not _answers(name))):
            self._lost[name] = reason
        return name in self._lost


def _silent(device: Device) -> bool:
    try:
        return bool(device.config.read(0, 2) == _GONE)
    except VfioImsError:
        return True


def _answers(name: str) -> bool:
    """Whether the device opens again."""
    from vfio_ims.names import open_device
    from vfio_ims.tracing.opening import unrecorded

    try:
        with unrecorded(), open_device(name) as device:
            return not _silent(device)
    except VfioImsError:
        return False
