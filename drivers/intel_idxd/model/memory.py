# SPDX-License-Identifier: Apache-2.0
"""The client's memory as the modelled engines reach it: page by page where the progress must be reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from vfio_ims.errors import BusFault
from vfio_ims.native.access import MemoryGone, copy
from vfio_ims.native.lib import native
from vfio_ims.ports.model import Bus

from .state import ModelState

__all__ = ["Defer", "Memory", "PageFault"]

_PAGE = 4096
_CHUNK = 4 << 20  # bytes moved while the state's lock is held: register accesses wait no longer than this takes
_BREATH = 1e-6  # between two of them: who takes a lock again at once may starve those who wait for it

T = TypeVar("T")


class PageFault(Exception):
    """``done`` bytes were read or written before ``address`` could not be."""

    def __init__(self, address: int, *, write: bool, done: int = 0) -> None:
        super().__init__(f"{'write' if write else 'read'} at {address:#x}")
        self.address, self.write, self.done = address, write, done


class Defer(Exception):
    """The memory is not to be had at once: do this in the worker."""


class Memory:
    """Requests tagged ``pasid`` (None: untagged). Raises PageFault. ``quick``: raises Defer instead, nothing is done.

    Each access holds the state's lock, and no view outlives it: what a client unmaps is not touched afterwards.
    While a read by message waits for its answer the lock is free.
    """

    def __init__(self, state: ModelState, pasid: int | None, *, quick: bool = False) -> None:
        self._state, self._pasid, self._quick = state, pasid, quick

    def _bus(self, iova: int, write: bool) -> Bus:
        bus = self._state.bus()
        if bus is None:
            raise PageFault(iova, write=write)
        return bus

    def read(self, iova: int, size: int) -> bytes:
        """Copy out."""
        if size <= _CHUNK:
            return self._try(iova, size, False, lambda bus: bus.read(iova, size, self._pasid), 0)
        return b"".join(self.read(iova + at, min(_CHUNK, size - at)) for at in range(0, size, _CHUNK))

    def write(self, iova: int, data: bytes) -> None:
        """Copy in; on a fault what lies before it was written."""
        for at in range(0, len(data), _CHUNK):
            self._write(iova + at, data[at : at + _CHUNK], at)

    def _write(self, iova: int, data: bytes, done: int) -> None:
        try:
            self._try(iova, len(data), True, lambda bus: self._put(bus, iova, data), done)
        except PageFault as fault:
            kept = data[: fault.done - done]
            if kept:
                self._try(iova, len(kept), True, lambda bus: self._put(bus, iova, kept), done)
            raise

    def _put(self, bus: Bus, iova: int, data: bytes) -> None:
        # Not bus.write: 4 bytes to the interrupt range would be a message, and DMA of an engine never is.
        try:
            _spread(bus.views(iova, len(data), write=True, pasid=self._pasid), data)
        except (BusFault, MemoryGone):
            bus.write(iova, data, self._pasid)  # memory that has no view, or is gone: then this faults

    def _try(self, iova: int, size: int, write: bool, action: Callable[[Bus], T], done: int) -> T:
        with self._state.lock:
            try:
                return action(self._bus(iova, write))
            except BusFault:
                if self._quick:
                    raise Defer from None
            reached = self.reach(iova, size, write) % size  # mapped throughout, but its file is gone: none of it
        raise PageFault(iova + reached, write=write, done=done + reached)

    def reach(self, iova: int, size: int, write: bool) -> int:
        """How many bytes from ``iova`` on can be reached. Looks page by page."""
        bus = self._bus(iova, write)
        at = 0
        while at < size:
            step = min(size - at, _PAGE - (iova + at) % _PAGE)
            if write:
                if not bus.allows(iova + at, step, write=True, pasid=self._pasid):
                    return at
            else:
                try:
                    bus.read(iova + at, step, self._pasid)
                except BusFault:
                    return at
            at += step
        return size

    def reachable(self, iova: int, size: int) -> int:
        """How many bytes from ``iova`` on are there: translated, not touched."""
        with self._state.lock:
            reached = self.reach(iova, size, False)
        if reached < size and self._quick:
            raise Defer
        return reached

    def copy(self, to: int, source: int, size: int) -> None:
        """Copy; the ranges may overlap. ``PageFault.done`` counts from the start, from the end if copied backward."""
        backward = source < to < source + size
        done = 0
        while done < size:
            step = min(_CHUNK, size - done)
            at = size - done - step if backward else done
            pieces: list[memoryview] = []
            targets: list[memoryview] = []
            with self._state.lock:
                bus = self._bus(source + at, False)
                try:
                    pieces = bus.views(source + at, step, write=False, pasid=self._pasid)
                    targets = bus.views(to + at, step, write=True, pasid=self._pasid)
                    _transfer(targets, pieces, backward)
                except (BusFault, MemoryGone):
                    if self._quick:
                        raise Defer from None
                    pieces, targets = [], []
                    self._copy_carefully(bus, to + at, source + at, step, done, backward)
                del pieces, targets
            done += step
            if done < size:
                time.sleep(_BREATH)

    def _copy_carefully(self, bus: Bus, to: int, source: int, size: int, done: int, backward: bool) -> None:
        """As far as both can be reached, through reads and writes of the bus, a page of the target at a time."""
        at = 0
        while at < size:
            if backward:
                last = to + size - at
                step = min(size - at, (last - 1) % _PAGE + 1)
                offset = size - at - step
            else:
                step = min(size - at, _PAGE - (to + at) % _PAGE)
                offset = at
            try:
                data = bus.read(source + offset, step, self._pasid)
            except BusFault:
                reached = self.reach(source + offset, step, False)
                raise PageFault(source + offset + reached, write=False, done=done + at) from None
            try:
                self._put(bus, to + offset, data)
            except BusFault:
                raise PageFault(to + offset, write=True, done=done + at) from None
            at += step


def _spread(targets: Sequence[memoryview], data: bytes) -> None:
    place = _address(memoryview(data))
    for target in targets:
        copy(_address(target), place, len(target))
        place += len(target)


def _transfer(targets: Sequence[memoryview], pieces: Sequence[memoryview], backward: bool) -> None:
    """Move between memories in pieces of different sizes, in an order that an overlap survives."""
    moves: list[tuple[memoryview, memoryview]] = []
    targets, pieces = list(targets), list(pieces)
    first = second = 0
    while first < len(targets):
        step = min(len(targets[first]), len(pieces[second]))
        moves.append((targets[first][:step], pieces[second][:step]))
        targets[first], pieces[second] = targets[first][step:], pieces[second][step:]
        first += not len(targets[first])
        second += not len(pieces[second])
    for target, piece in reversed(moves) if backward else moves:
        copy(_address(target), _address(piece), len(target))


def _address(view: memoryview) -> int:
    ffi, _ = native()
    return int(ffi.cast("uintptr_t", ffi.from_buffer(view)))
