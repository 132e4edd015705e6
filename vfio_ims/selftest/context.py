# SPDX-License-Identifier: Apache-2.0
"""The device on the test context: firing it, waiting for it, and how long."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Sequence
from inspect import signature
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from vfio_ims.authors import place_of
from vfio_ims.counted import by_count, counted
from vfio_ims.driver import Driver
from vfio_ims.errors import UnsupportedError, UsageError
from vfio_ims.ims import FireReport
from vfio_ims.selftest.findings import name_slots
from vfio_ims.selftest.options import Options, Progress, ProgressSink

if TYPE_CHECKING:
    from vfio_ims.ims.donor import Donor

__all__ = ["Broken", "Context", "NotApplicable"]

_FULL_WAITS, _SETTLED_WAITS = 2, 20
_QUICK = 0.002
_ENOUGH = 64  # latencies, to judge the mount by
_MOST_SILENT_REFIRES = 24


class NotApplicable(Exception):
    """The device has no such feature; the text says what it lacks."""


class Broken(Exception):
    """The driver failed in a call: the test cannot go on. The text names the call, ``hint`` what to do."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class Context:
    """One driver under test."""

    def __init__(self, driver: Driver, options: Options, progress: ProgressSink | None = None) -> None:
        self.driver, self.options, self._progress = driver, options, progress
        self.domain = driver.ims
        size = self.domain.table.size
        self.slots = range(size if options.slots is None else min(size, options.slots))
        self.latencies: list[float] = []
        own = type(driver).fire_many
        own_many = own is not Driver.fire_many
        self._fires_together = own_many, own_many and "pasid" in signature(own).parameters
        """Whether the driver has a ``fire_many`` of its own: without a PASID, and with one."""
        self._usual: float | None = None
        self._silences = self._silent_refires = 0
        self.steps: tuple[str, ...] = ()
        self.current = ""
        self._reported_at = 0.0
        used = len(self.domain.allocated)
        if used:
            why = f"{counted(used, 'slot')} of its table {by_count(used, 'is', 'are')} in use"
            raise UsageError("test", device=driver.label, why=why, hint="close your interrupts first")

    # --- firing -------------------------------------------------------------------------------------------------------

    def fire(self, slot: int, pasid: int | None = None) -> FireReport:
        """``driver.fire``; Broken where it raises. UnsupportedError passes: the caller decides what lacks."""
        try:
            report: object = self.driver.fire(slot) if pasid is None else self.driver.fire(slot, pasid=pasid)
        except UnsupportedError:
            raise
        except Exception as error:
            raise self._broken(f"fire(slot {slot})", error) from error
        if not isinstance(report, FireReport):
            raise Broken(f"fire(slot {slot}) must return a FireReport, not {report!r}", "Driver.fire: docs/contract.md")
        return report

    def fire_many(self, slots: Sequence[int], pasid: int | None = None) -> Sequence[FireReport]:
        """``driver.fire_many``; Broken where it raises. One by one where the driver has none of its own.

        What fails then names its slot.
        """
        if not self._fires_together[pasid is not None]:
            return [self.fire(slot, pasid) for slot in slots]
        given = {} if pasid is None else {"pasid": pasid}
        try:
            reports: object = self.driver.fire_many(slots, **given)
        except UnsupportedError:
            raise
        except Exception as error:
            raise self._broken(f"fire_many({name_slots(slots)})", error) from error
        found = reports if isinstance(reports, (list, Sequence)) else ()
        if len(found) != len(slots) or not all(map(isinstance, found, repeat(FireReport))):
            why = f"fire_many({name_slots(slots)}) must return a FireReport for each, not {reports!r}"
            raise Broken(why, "Driver.fire_many: docs/contract.md")
        return found

    def _broken(self, call: str, error: Exception) -> Broken:
        place = place_of(error, [Path(str(sys.modules[type(self.driver).__module__].__file__)).parent])
        hint = getattr(error, "hint", "") or (f"look at {place}" if place else "")
        return Broken(f"{call} raised {type(error).__name__}: {getattr(error, 'summary', error)}", hint)

    def status(self) -> str:
        """What the device's registers say."""
        try:
            return self.driver.status()
        except Exception as error:  # noqa: BLE001 - a driver under test; the report has it
            return f"status() raised {type(error).__name__}: {error}"

    # --- waiting ------------------------------------------------------------------------------------------------------

    def donors(self) -> list[Donor]:
        """The donors that slots may share, by vector; last those whose message does not fit beside the slots in use."""
        found = [donor for donor in self.domain.donors.values() if not donor.exclusive]
        fitting = set(self._fitting(found))
        return sorted(found, key=lambda donor: (donor not in fitting, donor.vector))

    def fitting_donors(self, slots: Sequence[int] = ()) -> list[Donor]:
        """Of ``donors`` the first: those that any slot may copy while the others are in use.

        Where some slots share an address register and others another: those that ``slots`` may, which share one.
        """
        return self._fitting(self.donors(), slots)

    def _fitting(self, donors: list[Donor], slots: Sequence[int] = ()) -> list[Donor]:
        limits = self.domain.table.limits
        beside = [donor for donor in donors if donor.load]
        if slots and limits.address_groups:
            beside = [one for one in beside if any(limits.share_address(slots[0], slot) for slot in one.slots())]
        used = tuple(donor.message for donor in beside)
        return [donor for donor in donors if limits.refusal(donor.message, used) is None]

    def until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Drain events until ``done``, at most ``timeout`` seconds."""
        hub, deadline = self.domain.hub, time.monotonic() + timeout
        poll = select.poll()
        poll.register(hub.fileno(), select.POLLIN)
        while True:
            hub.drain()
            if done():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)

    @property
    def settle(self) -> float:
        """Seconds after which nothing more comes: what was asked for, or else the mount's own time.

        Less than that once this device, on this mount, was seen to be much faster: twenty times what almost every
        interrupt takes, and longer than an echo does that the dwell time shows.
        """
        given = self.options.settle
        if given is not None:
            return given
        most = self.driver.device.port.settle
        if self._usual is None and len(self.latencies) >= _ENOUGH:
            self._usual = sorted(self.latencies)[-1 - len(self.latencies) // 50]
        return most if self._usual is None else min(most, max(20 * self._usual, 2 * self.options.dwell))

    def pause(self, seconds: float) -> None:
        """Drain events for ``seconds``."""
        self.until(lambda: False, seconds)

    def calm(self) -> None:
        """Drain events until none came for the settle time; where they do not end, for a second."""
        donors, deadline = self.donors(), time.monotonic() + 1
        while time.monotonic() < deadline:
            before = [donor.count for donor in donors]
            self.pause(self.settle)
            if before == [donor.count for donor in donors]:
                return

    @property
    def fire_timeout(self) -> float:
        """How long to wait for what must come: T, but a device that is silent over and over is not given T each time.

        After two silent waits the mount's settle time does, and after twenty more twenty times the usual latency.
        """
        if self._silences < _FULL_WAITS:
            return self.options.timeout
        if self._silences < _FULL_WAITS + _SETTLED_WAITS:
            return min(self.options.timeout, self.settle)
        usual = median(self.latencies[-100:]) if self.latencies else 0.0
        return min(self.options.timeout, self.settle, max(_QUICK, 20 * usual))

    def silence(self) -> None:
        """Something did not come in time."""
        self._silences += 1

    @property
    def may_refire(self) -> bool:
        """Whether a silent slot is worth firing again: on a dead device there is an end to that."""
        return self._silent_refires < _MOST_SILENT_REFIRES

    def refire_was_silent(self) -> None:
        """A slot that was silent was so again."""
        self._silent_refires += 1

    # --- progress -----------------------------------------------------------------------------------------------------

    def step(self, name: str) -> None:
        """The step called ``name``, one of ``steps``, begins."""
        self.current, self._reported_at = name, 0.0

    def report_progress(self, done: int, total: int) -> None:
        """Progress, at most ten times a second beside start and end."""
        if self._progress is not None:
            now = time.monotonic()
            if done in (0, total) or now - self._reported_at > 0.1:
                self._reported_at = now
                number = self.steps.index(self.current) + 1 if self.current in self.steps else 1
                self._progress(Progress(self.current, done, total, number, max(len(self.steps), 1)))
