# SPDX-License-Identifier: Apache-2.0
"""Giving a device back when the host wants it, and noticing when it is gone, or not as it was.

What the kernel does was measured on Linux 7.3 (tests/vm/test_host.py): asked to remove a function that is open, it
signals REQ at once and every 10 seconds, and waits without limit for the last descriptor and mapping to go. Meanwhile
everything works. Reading the function's sysfs from its user can deadlock with the remover: nothing here does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vfio_ims.device import Device, ReportedError
from vfio_ims.errors import DeviceError, RemovedError, UnsupportedError, VfioImsError
from vfio_ims.lifetime import closing_because
from vfio_ims.native.events import EventFd

if TYPE_CHECKING:
    from vfio_ims.driver import Driver
    from vfio_ims.interrupts.vector import VectorInterrupt

__all__ = ["GRACE", "RemovalWatch"]

GRACE = 2.0
"""Seconds that an application has, after it was notified, to end by itself."""

_SAMPLE = 16
"""Slots whose entries are looked at each time: a reset loses all of them."""

OnRemoval = Callable[[RemovedError], object]

_log = logging.getLogger(__name__)


class RemovalWatch:
    """Watches one open device, in a thread of its own, until it or the device is closed.

    When the host asks for the device, ``on_removal`` is called with the reason, in a thread of its own. When it has
    returned (True: not before the application has closed the device itself), and ``grace`` seconds after the request
    at the latest, every wait for an interrupt raises RemovedError and the owner is closed: the function is given back
    within ``grace`` and what closing takes.

    Where the device is lost without being asked for (``alive`` says no, seen every ``interval`` seconds): the same, at
    once. ``alive`` reads something that a live device never answers with all ones; without it the vendor id in config
    space is read. A loss is not always seen there: a driver that knows an identity register should be asked.

    Where a driver's device is still there and not as it was started (reset by another party, asleep, memory decoding
    off: its domain's ``check``), every wait raises DeviceError, ``faulty`` is called once with it, in a thread of its
    own, and the device stays open: the driver's ``reset`` puts it right, in ``faulty`` or elsewhere.

    Where the device reports an uncorrectable error to the host (VFIO's ERR), ``on_error`` is called with it and with
    what Advanced Error Reporting says (``ReportedError.report``), in a thread of its own, each time. The device stays
    open, and waits go on: what the error means for the work in flight is the application's to decide.
    """

    def __init__(
        self,
        owner: Driver | Device,
        on_removal: OnRemoval | None = None,
        *,
        grace: float = GRACE,
        alive: Callable[[], bool] | None = None,
        faulty: Callable[[DeviceError], object] | None = None,
        on_error: Callable[[ReportedError], object] | None = None,
        interval: float = 0.5,
    ) -> None:
        self._owner = owner
        self.device = owner if isinstance(owner, Device) else owner.device
        self._on_removal, self._grace, self._interval = on_removal, grace, interval
        self._alive = alive or self._answers
        self._faulty, self._on_error = faulty, on_error
        self.fault: DeviceError | None = None
        """What is wrong with a device that is still there; None while nothing is."""
        self.reason: RemovedError | None = None
        """Why the device is going or gone; None while it is well."""
        self.given_back = threading.Event()
        """Set when the owner has been closed."""
        self._stop = EventFd()
        self._request: VectorInterrupt | None
        try:
            self._request = self.device.interrupts.open_req()
        except UnsupportedError:
            self._request = None
        self._error_event = self._open_err() if on_error is not None else None
        # Copies: the device closes its own, and these numbers may mean something else a moment later.
        descriptors = tuple(
            -1 if event is None else os.dup(event.fileno()) for event in (self._request, self._error_event)
        )
        self._thread = threading.Thread(target=self._watch, args=descriptors, name=f"removal of {self.device.name}")
        self._thread.daemon = True
        self._thread.start()

    def _answers(self) -> bool:
        return self.device.config.read(0, 2) != 0xFFFF

    def _open_err(self) -> VectorInterrupt | None:
        try:
            return self.device.interrupts.open_err()
        except UnsupportedError:  # a function without PCI Express reports none
            return None

    def _watch(self, descriptor: int, errors: int) -> None:
        try:
            self._watch_until_stopped(descriptor, errors)
        finally:
            for one in (descriptor, errors):
                if one >= 0:
                    os.close(one)

    def _watch_until_stopped(self, descriptor: int, errors: int) -> None:
        poll = select.poll()
        poll.register(self._stop.fileno(), select.POLLIN)
        for one in (descriptor, errors):
            if one >= 0:
                poll.register(one, select.POLLIN)
        while not self._owner.closed:
            ready = {number for number, _ in poll.poll(self._interval * 1000)}
            if self._stop.fileno() in ready:
                return
            if errors in ready:
                self._report_error(errors)
            if descriptor in ready:
                why, hint = "the host takes the device back", f"close it within {self._grace:g} seconds"
                self._leave(RemovedError("use the device", device=self.device.name, why=why, hint=hint), self._grace)
                return
            if not self._still_there() and not self._owner.closed:
                why = "it does not answer any more: unplugged, lost its power, or its server is gone"
                self._leave(RemovedError("use the device", device=self.device.name, why=why, hint="vfio-ims list"), 0)
                return

    def _report_error(self, descriptor: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(descriptor)
        try:
            report = self.device.read_errors()
        except VfioImsError:  # it does not answer, or is being closed
            report = None
        error = ReportedError.of(self.device.name, report)
        _log.warning("%s", error)
        if self._on_error is not None:
            threading.Thread(target=self._notify, args=(self._on_error, error, []), daemon=True).start()

    def _still_there(self) -> bool:
        try:
            return self._alive() and self._checked()
        except RemovedError:
            return False
        except VfioImsError:
            # Closed meanwhile by its owner; or memory decoding is off, which is no loss.
            return True

    def _checked(self) -> bool:
        """Let the driver's domain look whether the device is as it was; True, unless RemovedError is raised."""
        domain = self._owner.__dict__.get("ims")
        if domain is None or domain.closed:
            return True
        try:
            domain.check(most=_SAMPLE)
            self.fault = None
        except RemovedError:
            raise
        except DeviceError as fault:
            if fault is not self.fault:
                self.fault = fault
                _log.warning("%s", fault)
                if self._faulty is not None:
                    threading.Thread(target=self._notify, args=(self._faulty, fault, []), daemon=True).start()
        return True

    def _leave(self, reason: RemovedError, grace: float) -> None:
        deadline = time.monotonic() + grace
        self.reason = reason
        if self._on_removal is not None:
            answer: list[bool] = []
            notifier = threading.Thread(target=self._notify, args=(self._on_removal, reason, answer), daemon=True)
            notifier.start()
            notifier.join(max(grace, 0.1))
            while any(answer) and not self._owner.closed and time.monotonic() < deadline:
                time.sleep(0.02)
        with contextlib.suppress(VfioImsError):
            self.device.interrupts.hub.fail(reason)
        try:
            with closing_because(f"the removal watch: {reason.why}"):
                self._owner.close()
        except VfioImsError as error:
            _log.info("closing a device that is going: %s", error)
        self.given_back.set()

    def _notify(self, callback: Callable[[Any], object], reason: DeviceError, answer: list[bool]) -> None:
        try:
            answer.append(bool(callback(reason)))
        except Exception:  # noqa: BLE001 - a stranger's code; the device is given back all the same
            _log.exception("the application's callback on removal failed")

    def close(self) -> None:
        """Stop watching. Does not close the device."""
        if self._thread is not threading.current_thread():
            self._stop.signal()
            self._thread.join()
            for event in (self._request, self._error_event):
                if event is not None and not self._owner.closed:
                    event.close()
            self._stop.close()

    def __enter__(self) -> RemovalWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
