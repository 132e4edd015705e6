# SPDX-License-Identifier: Apache-2.0
"""What a device sends, messages and memory requests, on its way: dropped, doubled, late, refused.

It stands before the bus that a device model has, so it is there where the device is a model: in this process, behind a
vfio-user socket, or on the server's side of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import local
from typing import Any

from vfio_ims.clock import Alarm, Clock
from vfio_ims.errors import BusFault
from vfio_ims.faults.fault import Fault
from vfio_ims.faults.moment import Occasion
from vfio_ims.faults.running import Faults
from vfio_ims.locks import make_lock
from vfio_ims.ports.covers import Covered
from vfio_ims.ports.values import IrqIndex

__all__ = ["BusFaults"]

_FROM_THE_DEVICE = (IrqIndex.INTX, IrqIndex.MSI, IrqIndex.MSIX)
_STORES = ("write", "write_block", "write_table", "write_region", "store64", "enqueue64")
_MESSAGE, _WRITE, _READ = Occasion("message"), Occasion("dma_write", write=True), Occasion("dma_read")


class BusFaults:
    """Covers ``bus``. ``is_message``: whether a write of this size at this address is one.

    ``refused(address, size, data, why, write)``: puts a refusal in the platform's log, where there is a platform.
    """

    def __init__(
        self,
        bus: Any,
        faults: Faults,
        covered: Covered,
        is_message: Callable[[int, int], bool],
        refused: Callable[[int, int, int | None, str, bool], None],
    ) -> None:
        self._faults, self._is_message, self._refused = faults, is_message, refused
        self.posted = _Posted(faults.clock)
        self._refuses = any(fault.kind == "dma" for fault in faults.faults)
        self._last: _Refusal | None = None
        self._asking = local()
        covered.cover(bus, "write", self._write)
        covered.cover(bus, "read", self._read)
        covered.cover(bus, "views", self._views)
        covered.cover(bus, "allows", self._allows)
        covered.cover(bus, "interrupt", self._interrupt)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _interrupt(self, call: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def covered(index: int, vector: int) -> None:
            if index not in _FROM_THE_DEVICE:  # the host's own events
                call(index, vector)
                return
            name = f"{IrqIndex(index).name} vector {vector}"
            self._message(name, lambda: call(index, vector), lambda why: self._refused(0, 4, vector, why, True))

        return covered

    def _message(self, name: str, send: Callable[[], None], refuse: Callable[[str], None]) -> None:
        faults = self._faults
        if faults.lost:
            return
        times, late = 1, 0.0
        for fault in faults.due(("message",), _MESSAGE):
            match fault.kind:
                case "drop":
                    faults.record(fault, f"{name} was dropped")
                    times = 0
                case "double":
                    faults.record(fault, f"{name} was sent twice")
                    times *= 2
                case "late":
                    faults.record(fault, f"{name} came {fault.seconds:g} s late")
                    late = max(late, fault.seconds)
                case "refuse":
                    faults.record(fault, f"{name} was refused by interrupt remapping")
                    refuse(f"injected: {fault}")
                    times = 0
        for _ in range(times):
            self.posted.send(late, send)

    # --- memory -------------------------------------------------------------------------------------------------------

    def _write(self, call: Callable[..., None]) -> Callable[..., None]:
        def covered(iova: int, data: bytes, pasid: int | None = None) -> None:
            if self._faults.lost:
                return
            raw = bytes(data)
            if pasid is None and self._is_message(iova, len(raw)):
                number = int.from_bytes(raw, "little")
                refuse = lambda why: self._refused(iova, 4, number, why, True)  # noqa: E731
                self._message(f"message {iova:#x}/{number:#x}", lambda: call(iova, raw, pasid), refuse)
                return
            late = 0.0
            self._check_again(iova, len(raw), write=True)
            for fault in self._faults.due(("dma",), _WRITE):
                if fault.kind == "dma":
                    self._fault(fault, iova, len(raw), write=True)
                self._faults.record(fault, f"a write of {len(raw)} bytes at {iova:#x} came {fault.seconds:g} s late")
                late = max(late, fault.seconds)
            self.posted.send(late, lambda: call(iova, raw, pasid))

        return covered

    def _read(self, call: Callable[..., bytes]) -> Callable[..., bytes]:
        def covered(iova: int, size: int, pasid: int | None = None) -> bytes:
            if self._faults.lost:
                return b"\xff" * size
            self._check_again(iova, size, write=False)
            for fault in self._faults.due(("dma",), _READ):
                self._fault(fault, iova, size, write=False)
            return call(iova, size, pasid)

        return covered

    def _views(self, call: Callable[..., list[memoryview]]) -> Callable[..., list[memoryview]]:
        def covered(iova: int, size: int, *, write: bool, pasid: int | None = None) -> list[memoryview]:
            if self._faults.lost:
                raise BusFault(iova, size, write=write, why="the device is off the bus")
            if self._refuses and not getattr(self._asking, "allowed", False):
                # A view is no request yet: the model is to make its requests one by one, each of which can be refused.
                raise BusFault(iova, size, write=write, why="faults of DMA are injected: there are no views")
            return call(iova, size, write=write, pasid=pasid)

        return covered

    def _allows(self, call: Callable[..., bool]) -> Callable[..., bool]:
        def covered(iova: int, size: int, *, write: bool, pasid: int | None = None) -> bool:
            if self._faults.lost or self._again(iova, size, write):
                return False
            self._asking.allowed = True  # a bus may look for views to answer
            try:
                return call(iova, size, write=write, pasid=pasid)
            finally:
                self._asking.allowed = False

        return covered

    def _again(self, iova: int, size: int, write: bool) -> _Refusal | None:
        """The refusal of this request, if it was refused already.

        A model may make one request more than once, to find how far it comes or in another thread: until its driver
        writes to it again it is the same one.
        """
        last = self._last
        same = last and last.write == write and last.stores == self._stores and last.overlaps(iova, size)
        return last if same else None

    def _check_again(self, iova: int, size: int, *, write: bool) -> None:
        last = self._again(iova, size, write)
        if last is not None:
            raise BusFault(iova, size, write=write, why=last.why)

    @property
    def _stores(self) -> int:
        return sum(self._faults.verbs[verb] for verb in _STORES)

    def _fault(self, fault: Fault, iova: int, size: int, *, write: bool) -> None:
        what = f"a {'write' if write else 'read'} of {size} bytes at {iova:#x}"
        self._faults.record(fault, f"{what} was refused by the IOMMU")
        why = f"injected: {fault}"
        self._last = _Refusal(iova, size, write, why, self._stores)
        self._refused(iova, size, None, why, write)
        raise BusFault(iova, size, write=write, why=why)


@dataclass(frozen=True)
class _Refusal:
    """A request that was refused; ``stores``: what the driver had written to the device until then."""

    iova: int
    size: int
    write: bool
    why: str
    stores: int

    def overlaps(self, iova: int, size: int) -> bool:
        return iova < self.iova + self.size and self.iova < iova + size


class _Posted:
    """Writes under way: one that is late holds back those after it, as PCIe keeps posted writes in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, make_lock()
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._alarm: Alarm | None = None
        self._ended = False

    def send(self, late: float, action: Callable[[], None]) -> None:
        with self._lock:
            if late or self._waiting:
                self._waiting.append((self._clock.now() + late, action))
                self._wake()
                return
        action()

    def _wake(self) -> None:
        if self._alarm is None and self._waiting and not self._ended:
            self._alarm = self._clock.call_later(self._waiting[0][0] - self._clock.now(), self._arrive)

    def _arrive(self) -> None:
        while True:
            with self._lock:
                if self._ended or not self._waiting or self._waiting[0][0] > self._clock.now():
                    self._alarm = None
                    self._wake()
                    return
                action = self._waiting[0][1]
            with suppress(BusFault):  # as any posted write: the platform's log has it
                action()
            with self._lock:
                if self._waiting:
                    self._waiting.popleft()

    def end(self) -> None:
        """What has not arrived never does."""
        with self._lock:
            self._ended = True
            self._waiting.clear()
            alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.cancel()
