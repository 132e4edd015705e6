# SPDX-License-Identifier: Apache-2.0
"""A work queue as its submitters see it: the portal, and how many descriptors are in flight.

Stores walk through a portal's page (address bits 11:6 do not matter to the device), so that stores that arrive in
pieces stay apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from vfio_ims.counted import by_count, counted
from vfio_ims.errors import DeviceError, DeviceTimeout, UsageError, VfioImsError
from vfio_ims.interruption import break_off, uninterrupted
from vfio_ims.locks import make_rlock
from vfio_ims.native.access import collect, fill, load, poll_memory
from vfio_ims.native.row_plan import Page
from vfio_ims.native.window import MappedWindow

from ..hardware.portals import IMS_PORTAL, LIMITED_PORTAL, PORTAL_PAGE, QUEUE_PORTALS
from ..hardware.software_error import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import ReadableBuffer

    from vfio_ims.device import Bar
    from vfio_ims.native.lib import CData
    from vfio_ims.native.row_plan import RowPlan

    from ..hardware.registers import Bar0
    from .in_flight import InFlight, Waitable
    from .records import Record

__all__ = ["WorkQueue", "wait_for_record"]

_SLICE = 0.05  # seconds of waiting between two looks at the error registers


def wait_for_record(regs: Bar0, record: Record, timeout: float, operation: str) -> int:
    """The status byte of ``record``, once it is not 0: one compiled loop.

    SWERR is read inside: DeviceError at once where it says that this record could not be written, DeviceTimeout after
    ``timeout`` seconds, both with what the error registers hold.
    """
    address = record.address
    status = load(address, 1)
    if status:
        return status
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        status = poll_memory(address, 1, 0xFF, 0, max(0.0, min(left, _SLICE)), differs=True)
        if status:
            return status
        break_off()
        error = regs.SWERR.read()
        lost = error.valid and error.address == record.iova
        if lost or left <= _SLICE:
            status = load(address, 1)
            if status:
                return status
            text = describe(error)
            if lost:
                raise DeviceError(operation, device=regs.label, why=text)
            why = f"no completion record after {timeout:.3g} s" + (f"; {text}" if text else "")
            raise DeviceTimeout(operation, device=regs.label, why=why)


class WorkQueue:
    """Queue ``index`` with ``size`` entries. ``submit`` waits for a free entry: an overrun loses a descriptor.

    An entry counts as taken until the completion record of its descriptor was seen: the device frees it earlier. A
    shared queue refuses what it cannot take, and is asked again.
    """

    def __init__(
        self, portals: Bar, regs: Bar0, in_flight: InFlight, index: int, size: int, *, dedicated: bool
    ) -> None:
        self._portals, self._regs, self._book = portals, regs, in_flight
        self.index, self.size, self.dedicated = index, size, dedicated
        self.pasid: int | None = None
        """What its work is tagged with."""
        self.sessions = 0
        self.loan: tuple[int, Callable[[], None]] | None = None
        """The PASID that it was given for a while, and what ends that: called before it takes any other work."""
        self._base = index * QUEUE_PORTALS
        self.lock = make_rlock()
        self.page = Page(PORTAL_PAGE)
        """Where the next store goes. Who takes the lock, other than to submit, closes it: ``Page.close``."""

    @property
    def in_flight(self) -> int:
        """Entries that are taken: descriptors whose completion was not seen yet."""
        many = sum(min(rows.stored, self.size) for rows in self._book.many(self.index))
        return self._book.singles(self.index) + many

    def submit(
        self,
        descriptor: bytes,
        record: Record,
        *,
        ims: bool,
        timeout: float = 10.0,
        slot: int | None = None,
        session: object = None,
        work: Waitable | None = None,
    ) -> None:
        """Store ``descriptor``, which completes into the cleared ``record``. Its handle is IMS' with ``ims``.

        It is in flight, for ``slot``, ``session`` and ``work``, until that is ended in the device's ``InFlight``.
        DeviceTimeout where no entry gets free in ``timeout`` seconds. Whatever is raised, nothing was stored.
        To be called in an ``uninterrupted`` section.
        """
        with self.lock:
            self.page.close()
            if self.loan is not None:
                self._end_loan()
            self._settle(timeout)
            if self._book.singles(self.index) >= self.size:
                self._reap(timeout)
            self._book.begin(record, self.index, slot=slot, session=session, work=work)
            try:
                if self.dedicated:
                    self._store(descriptor, ims)
                else:
                    self._enqueue(descriptor, ims, timeout)
            except BaseException:
                self._book.cancel(record)  # refused by the device, or closed
                raise

    def submit_all(
        self, descriptors: bytes, records: Sequence[Record], slots: Sequence[int], *, ims: bool, timeout: float = 10.0
    ) -> None:
        """As ``submit``, for as many descriptors as this dedicated queue has entries, or less: stored in one call."""
        count = len(records)
        with self.lock:
            self.page.close()
            if self.loan is not None:
                self._end_loan()
            self._settle(timeout)
            while self._book.singles(self.index) + count > self.size:
                self._reap(timeout)
            self._book.begin_all(records, self.index, slots)
            try:
                at = self.portal(ims=ims) + self.page.take(count, whole=True)
                self._portals.store64_many(at, descriptors, count)
            except BaseException:
                for record in records:
                    self._book.cancel(record)
                raise

    def _end_loan(self) -> None:
        if self.loan is not None:
            self.loan[1]()
            self.loan = None

    def submit_unrecorded(self, descriptors: Sequence[bytes], *, ims: bool) -> None:
        """Store descriptors that have no completion record; the caller holds ``lock`` and drains."""
        if len(descriptors) == 1:
            self._store(descriptors[0], ims)
        else:
            at = self.portal(ims=ims) + self.page.take(len(descriptors), whole=True)
            self._portals.store64_many(at, b"".join(descriptors), len(descriptors))

    def _store(self, descriptor: ReadableBuffer, ims: bool) -> None:
        self._portals.store64(self.portal(ims=ims) + self.page.take(), descriptor)

    def portal(self, *, ims: bool) -> int:
        """The offset of the unlimited portal's page; ``ims``: of the one whose handles are of IMS."""
        return self._base + IMS_PORTAL if ims else self._base

    @property
    def in_pieces(self) -> bool:
        """Whether a descriptor may be stored as eight parts: to a model."""
        return self._portals.in_pieces

    def _enqueue(self, descriptor: bytes, ims: bool, timeout: float) -> None:
        """ENQCMD through the limited portal, until the queue takes it. UnsupportedError on hardware behind VFIO."""
        at = self._base + LIMITED_PORTAL + (IMS_PORTAL if ims else 0)
        deadline = 0.0
        while not self._portals.enqueue64(at, descriptor):
            now = time.monotonic()
            deadline = deadline or now + timeout
            if now >= deadline:
                why = f"the shared queue answered retry for {timeout:.3g} s"
                raise DeviceTimeout(f"submit to work queue {self.index}", device=self._regs.label, why=why)
            break_off()
            time.sleep(0)

    @cached_property
    def _store_plan(self) -> Callable[[RowPlan, int, float], int] | None:
        """The window's compiled call, where it reaches the portals directly."""
        return getattr(self._portals.window, "store_plan", None) if self._direct else None

    @property
    def handle(self) -> CData | None:
        """The portals' compiled window; None where they are not mapped, or another window takes their accesses."""
        window = self._portals.window
        return window.handle if self._direct and isinstance(window, MappedWindow) else None

    @cached_property
    def _direct(self) -> bool:
        return self.dedicated and self._portals.mapped(self._base, QUEUE_PORTALS)

    def submit_rows(self, rows: RowPlan, *, ims: bool, timeout: float = 10.0) -> None:
        """Store many descriptors: where the portal is mapped in one compiled call, which keeps to the queue's size.

        They are in the device's ``InFlight``. DeviceTimeout where they could not all be stored in ``timeout`` seconds,
        and what ENQCMD raises: ``rows.stored`` are in flight then. UsageError where their last submission still is.
        """
        with self.lock:
            self.page.close()
            store, size, count = self._store_plan, self.size, rows.count
            if store is not None and self.loan is None:
                depth = size - self._book.beside(self.index, rows)
                if depth == size or depth >= count:
                    stored = store(rows, depth, timeout)
                    if stored == count:
                        self.page.open(size - self._book.singles(self.index))
                        return
                    raise self._refused(rows, stored, timeout)
            with uninterrupted():
                self._submit_rows_otherwise(rows, ims, timeout)

    def _submit_rows_otherwise(self, rows: RowPlan, ims: bool, timeout: float) -> None:
        """Where something has to be done before, or each row has to go singly."""
        if rows.under_way and not rows.lost:
            raise self._refused(rows, -1, timeout)
        if self.loan is not None:
            self._end_loan()
        self._settle(timeout)
        depth = self.size - self._book.singles(self.index)
        if depth < 1:
            self._reap(timeout)
            depth = self.size - self._book.singles(self.index)
        window = self._portals.window
        if self._store_plan is not None:
            stored = self._store_plan(rows, depth, timeout)
        elif not rows.begin():
            stored = -1
        elif self._direct:
            store: Callable[..., int] = window.store_rows  # type: ignore[attr-defined]
            stored = rows.store_by(store, depth, timeout)
        else:
            stored = self._store_singly(rows, ims, depth, timeout)
        if stored < rows.count:
            raise self._refused(rows, stored, timeout)

    def still_in_flight(self) -> UsageError:
        """What is raised where rows are submitted whose last submission was not waited for."""
        why, hint = "its last submission is in flight", "wait for it first"
        return UsageError(f"submit to work queue {self.index}", device=self._regs.label, why=why, hint=hint)

    def _refused(self, rows: RowPlan, stored: int, timeout: float) -> VfioImsError:
        if stored < 0:
            return self.still_in_flight()
        error = describe(self._regs.SWERR.read())
        why = f"{stored} of {rows.count} were stored in {timeout:.3g} s" + (f"; {error}" if error else "")
        return DeviceTimeout(f"submit to work queue {self.index}", device=self._regs.label, why=why)

    def _store_singly(self, rows: RowPlan, ims: bool, depth: int, timeout: float) -> int:
        fill(rows.records, 0, rows.count * rows.step)
        deadline, stored = time.monotonic() + timeout, 0
        try:
            for row in rows.rows():
                left = max(0.0, deadline - time.monotonic())
                if not self.dedicated:
                    self._enqueue(row, ims, left)
                else:
                    record = rows.records + (stored - depth) * rows.step
                    if stored >= depth and not poll_memory(record, 1, 0xFF, 0, left, differs=True):
                        break
                    self._store(row, ims)
                stored += 1
        finally:
            rows.came_to(stored)
        return stored

    def _settle(self, timeout: float) -> None:
        """Wait until the queue's rows of descriptors have completed: their entries are free."""
        for rows in self._book.many(self.index):
            count = rows.stored
            if len(collect(rows.records, rows.step, count, timeout)) < count:
                error = describe(self._regs.SWERR.read())
                why = f"{counted(count, 'descriptor')} {by_count(count, 'is', 'are')} under way" + (
                    f"; {error}" if error else ""
                )
                raise DeviceTimeout(f"submit to work queue {self.index}", device=self._regs.label, why=why)
            rows.free()

    def _reap(self, timeout: float) -> None:
        """Wait until at least one descriptor in flight has completed: the entries of all that have are free."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            if self._book.free_completed(self.index, min(left, _SLICE)):
                return
            break_off()
            if left <= _SLICE:
                error = describe(self._regs.SWERR.read())
                why = f"none of {counted(self.size, 'entry')} is free after {timeout:.3g} s" + (
                    f"; {error}" if error else ""
                )
                raise DeviceTimeout(f"submit to work queue {self.index}", device=self._regs.label, why=why)
