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
from vfio_ims.errors import DeviceError, DeviceTimeout
from vfio_ims.interruption import break_off, uninterrupted
from vfio_ims.locks import make_rlock
from vfio_ims.native.access import collect, fill, load, poll_memory
from vfio_ims.native.rows import RowColumns

from ..hardware.descriptors import DESCRIPTOR_SIZE
from ..hardware.portals import IMS_PORTAL, LIMITED_PORTAL, PORTAL_PAGE, QUEUE_PORTALS
from ..hardware.software_error import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import ReadableBuffer

    from vfio_ims.device import Bar

    from ..hardware.registers import Bar0
    from .in_flight import InFlight, Waitable
    from .records import Record
    from .rows import Rows

__all__ = ["WorkQueue", "wait_for_record"]

_RECORD_AT = 0x08  # in a descriptor: the address of its completion record
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
        self._walk = 0
        self._columns: dict[tuple[tuple[int, int], ...], RowColumns] = {}

    @property
    def in_flight(self) -> int:
        """Entries that are taken: descriptors whose completion was not seen yet."""
        many = sum(min(rows.count, self.size) for rows in self._book.many(self.index))
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
            if self.loan is not None:
                self._end_loan()
            self._settle(timeout)
            while self._book.singles(self.index) + count > self.size:
                self._reap(timeout)
            for record, slot in zip(records, slots, strict=True):
                self._book.begin(record, self.index, slot=slot)
            try:
                if self._walk + DESCRIPTOR_SIZE * count > PORTAL_PAGE:
                    self._walk = 0
                at = self._base + (IMS_PORTAL if ims else 0) + self._walk
                self._portals.store64_many(at, descriptors, count)
                self._walk = (self._walk + DESCRIPTOR_SIZE * count) % PORTAL_PAGE
            except BaseException:
                for record in records:
                    self._book.cancel(record)
                raise

    def _end_loan(self) -> None:
        if self.loan is not None:
            self.loan[1]()
            self.loan = None

    def submit_unrecorded(self, descriptor: bytes, *, ims: bool) -> None:
        """Store a descriptor that has no completion record; the caller holds ``lock`` and drains."""
        self._store(descriptor, ims)

    def _store(self, descriptor: ReadableBuffer, ims: bool) -> None:
        at = self._base + (IMS_PORTAL if ims else 0) + self._walk
        self._walk = (self._walk + DESCRIPTOR_SIZE) % PORTAL_PAGE
        self._portals.store64(at, descriptor)

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
    def _store_rows(self) -> Callable[..., int] | None:
        """The window's compiled call, where it reaches the portals directly."""
        store: Callable[..., int] | None = getattr(self._portals.window, "store_rows", None)
        direct = self.dedicated and self._portals.mapped(self._base, QUEUE_PORTALS)
        return store if direct else None

    def submit_rows(
        self,
        rows: Rows,
        *,
        ims: bool,
        timeout: float = 10.0,
        session: object = None,
        work: Waitable | None = None,
    ) -> None:
        """Store many descriptors: where the portal is mapped in one compiled call, which keeps to the queue's size.

        DeviceTimeout where they could not all be stored in ``timeout`` seconds, and what ENQCMD raises: ``rows.count``
        is then how many were stored and are in flight.
        """
        with uninterrupted(), self.lock:
            if self.loan is not None:
                self._end_loan()
            self._settle(timeout)
            depth = self.size - self._book.singles(self.index)
            if depth < 1:
                self._reap(timeout)
                depth = self.size - self._book.singles(self.index)
            columns = self._columns.get(rows.places)
            if columns is None:
                columns = self._columns[rows.places] = RowColumns(rows.places, [(_RECORD_AT, 8)])
            columns.fill(rows.count, rows.values)
            try:
                self._book.begin_many(rows, self.index, session, work)
                store = self._store_rows
                if store is not None:
                    columns.count_up(0, rows.iova, rows.step)
                    at, walk = self._base + IMS_PORTAL if ims else self._base, self._walk
                    stored: int = store(
                        at, rows.pattern, rows.count, columns, rows.records, rows.step, depth, timeout,
                        start=walk, pieces=self._portals.in_pieces,
                    )  # fmt: skip
                    self._walk = (walk + stored * DESCRIPTOR_SIZE) % PORTAL_PAGE
                else:
                    stored = self._store_singly(rows, ims, depth, timeout)
            finally:
                columns.release()
            if stored < rows.count:
                count = self._stored(rows, stored)
                error = describe(self._regs.SWERR.read())
                why = f"{stored} of {count} were stored in {timeout:.3g} s" + (f"; {error}" if error else "")
                raise DeviceTimeout(f"submit to work queue {self.index}", device=self._regs.label, why=why)

    def _stored(self, rows: Rows, stored: int) -> int:
        """Only the first ``stored`` of ``rows`` are in flight; returns how many there were to be."""
        count, rows.count = rows.count, stored
        if not stored:
            self._book.end_many(rows)
        return count

    def _store_singly(self, rows: Rows, ims: bool, depth: int, timeout: float) -> int:
        fill(rows.records, 0, rows.count * rows.step)
        row, deadline = bytearray(rows.pattern), time.monotonic() + timeout
        columns = zip(rows.places, rows.values, strict=True)
        given = [(at, width, memoryview(values).cast("B")) for (at, width), values in columns]
        for i in range(rows.count):
            row[_RECORD_AT : _RECORD_AT + 8] = (rows.iova + i * rows.step).to_bytes(8, "little")
            for at, width, values in given:
                row[at : at + width] = values[i * width : (i + 1) * width]
            if self.dedicated:
                if i >= depth:
                    record, left = rows.records + (i - depth) * rows.step, max(0.0, deadline - time.monotonic())
                    if not poll_memory(record, 1, 0xFF, 0, left, differs=True):
                        return i
                self._store(row, ims)
            else:
                try:
                    self._enqueue(bytes(row), ims, max(0.0, deadline - time.monotonic()))
                except BaseException:
                    self._stored(rows, i)
                    raise
        return rows.count

    def _settle(self, timeout: float) -> None:
        """Wait until the queue's rows of descriptors have completed: their entries are free."""
        for rows in self._book.many(self.index):
            if len(collect(rows.records, rows.step, rows.count, timeout)) < rows.count:
                error = describe(self._regs.SWERR.read())
                why = f"{counted(rows.count, 'descriptor')} {by_count(rows.count, 'is', 'are')} under way" + (
                    f"; {error}" if error else ""
                )
                raise DeviceTimeout(f"submit to work queue {self.index}", device=self._regs.label, why=why)
            self._book.free_many(rows)

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
