# SPDX-License-Identifier: Apache-2.0
"""A work queue as its submitters see it: the portal, and how many descriptors are in flight.

Portals are in BAR 2, four pages of 4 KiB a queue: unlimited/MSI-X, limited/MSI-X, unlimited/IMS, limited/IMS (Linux
idxd patches of 2020-21). Address bits 11:6 do not matter to the device (SPDK walks through the page), so that stores
that arrive in pieces stay apart.
"""

from __future__ import annotations

import threading
import time
from array import array
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError, DeviceTimeout
from vfio_ims.native.access import load, poll_any, poll_memory

from .descriptors import DESCRIPTOR_SIZE
from .software_error import describe

if TYPE_CHECKING:
    from vfio_ims.device import Bar

    from .registers import Bar0

__all__ = ["IMS_PORTAL", "LIMITED_PORTAL", "PORTAL_PAGE", "QUEUE_PORTALS", "WorkQueue", "wait_for_record"]

PORTAL_PAGE, QUEUE_PORTALS = 0x1000, 0x4000
LIMITED_PORTAL, IMS_PORTAL = 0x1000, 0x2000
_SLICE = 0.05  # seconds of waiting between two looks at the error registers


def wait_for_record(regs: Bar0, record: int, iova: int, timeout: float, operation: str) -> int:
    """The status byte of the record at ``record`` (``iova`` for the device), once it is not 0: one compiled loop.

    SWERR is read inside: DeviceError at once where it says that this record could not be written, DeviceTimeout after
    ``timeout`` seconds, both with what the error registers hold.
    """
    status = load(record, 1)
    if status:
        return status
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        status = poll_memory(record, 1, 0xFF, 0, max(0.0, min(left, _SLICE)), differs=True)
        if status:
            return status
        error = regs.SWERR.read()
        lost = error.valid and error.address == iova
        if lost or left <= _SLICE:
            status = load(record, 1)
            if status:
                return status
            text = describe(error)
            if lost:
                raise DeviceError(operation, device=regs.label, why=text)
            why = f"no completion record after {timeout:.3g} s" + (f"; {text}" if text else "")
            raise DeviceTimeout(operation, device=regs.label, why=why)


class WorkQueue:
    """Queue ``index`` with ``size`` entries. ``submit`` waits for a free entry: an overrun loses a descriptor.

    An entry counts as taken until the completion record of its descriptor was seen: the device frees it earlier.
    """

    def __init__(self, portals: Bar, regs: Bar0, index: int, size: int, *, dedicated: bool) -> None:
        self._portals, self._regs = portals, regs
        self.index, self.size, self.dedicated = index, size, dedicated
        self._base = index * QUEUE_PORTALS
        self.lock = threading.RLock()
        self._walk = 0
        self._records = array("Q")
        self._place: dict[int, int] = {}

    @property
    def in_flight(self) -> int:
        """Descriptors whose completion nobody has seen yet."""
        return len(self._records)

    def submit(self, descriptor: bytes, record: int, *, ims: bool, timeout: float = 10.0) -> None:
        """Store ``descriptor``, which completes into the record at address ``record``. Its handle is IMS' with ``ims``.

        DeviceTimeout where no entry gets free in ``timeout`` seconds.
        """
        with self.lock:
            if len(self._records) >= self.size:
                self._reap(timeout)
            self._place[record] = len(self._records)
            self._records.append(record)
            self._store(descriptor, ims)

    def submit_unrecorded(self, descriptor: bytes, *, ims: bool) -> None:
        """Store a descriptor that has no completion record; the caller holds ``lock`` and drains."""
        self._store(descriptor, ims)

    def _store(self, descriptor: bytes, ims: bool) -> None:
        at = self._base + (IMS_PORTAL if ims else 0) + self._walk
        self._walk = (self._walk + DESCRIPTOR_SIZE) % PORTAL_PAGE
        self._portals.store64(at, descriptor)

    def retire(self, record: int) -> None:
        """The completion in ``record`` was seen: its entry is free."""
        with self.lock:
            place = self._place.pop(record, None)
            if place is None:
                return
            last = self._records.pop()
            if last != record:
                self._records[place] = last
                self._place[last] = place

    def _reap(self, timeout: float) -> None:
        """Wait until at least one descriptor in flight has completed; with it go all that have."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            done = poll_any(self._records, 1, 0xFF, 0, min(left, _SLICE), differs=True)
            if done:
                for record in [self._records[place] for place in done]:
                    self.retire(record)
                return
            if left <= _SLICE:
                error = describe(self._regs.SWERR.read())
                why = f"all {self.size} entries are taken after {timeout:.3g} s" + (f"; {error}" if error else "")
                raise DeviceTimeout(f"submit to work queue {self.index}", device=self._regs.label, why=why)

    def clear(self) -> None:
        """The device was reset: nothing is in flight."""
        with self.lock:
            del self._records[:]
            self._place.clear()
