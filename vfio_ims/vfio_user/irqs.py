# SPDX-License-Identifier: Apache-2.0
"""The server's side of SET_IRQS: which vectors have an eventfd, which are masked, and what is pending behind a mask."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence

from vfio_ims.counted import counted
from vfio_ims.native.events import notify
from vfio_ims.ports.values import IrqFlags, IrqIndex, IrqInfo, IrqSet
from vfio_ims.vfio_user.messages import IRQ_SET
from vfio_ims.vfio_user.wire import Refused

__all__ = ["IrqTable"]

_DATA = int(IrqSet.DATA_NONE | IrqSet.DATA_BOOL | IrqSet.DATA_EVENTFD)
_ACTION = int(IrqSet.ACTION_MASK | IrqSet.ACTION_UNMASK | IrqSet.ACTION_TRIGGER)
_EVENTFD = "anon_inode:[eventfd]"


class _Vector:
    __slots__ = ("fd", "masked", "pending")

    def __init__(self) -> None:
        self.fd, self.masked, self.pending = -1, False, False

    def signal(self) -> None:
        """Add one to the eventfd. A full one stays full: it is readable, that is all that matters."""
        if self.fd >= 0:
            notify(self.fd)

    def give(self, fd: int) -> None:
        """Take over ``fd``, or -1 for none; the one before is closed."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = fd


class IrqTable:
    """One client's interrupts. Safe for threads. ``asserted`` reads the INTx line, with the device model locked."""

    def __init__(self, infos: Sequence[IrqInfo], asserted: Callable[[], bool] = lambda: False) -> None:
        self._infos, self._asserted = tuple(infos), asserted
        self._vectors: dict[tuple[int, int], _Vector] = {}
        self._lock = threading.Lock()

    def set(self, payload: bytes, fds: list[int]) -> None:
        """Do what a SET_IRQS asks; descriptors that are kept leave ``fds``. Raises Refused, as libvfio-user would."""
        flags, index, start, count = self._checked(payload, fds)
        data, action = flags & _DATA, flags & _ACTION
        vectors = range(start, start + count)
        with self._lock:
            if action != IrqSet.ACTION_TRIGGER:
                chosen = vectors if data == IrqSet.DATA_NONE else _chosen(vectors, payload)
                for vector in chosen:
                    self._mask(index, vector, action == IrqSet.ACTION_MASK)
            elif count == 0:
                self._disable(index, range(self._infos[index].count))
            elif data == IrqSet.DATA_EVENTFD:
                if not fds:
                    self._disable(index, vectors)
                for vector in vectors if fds else ():
                    self._attach(index, vector, fds.pop(0))
            else:
                for vector in vectors if data == IrqSet.DATA_NONE else _chosen(vectors, payload):
                    if (index, vector) in self._vectors:
                        self._vectors[index, vector].signal()

    def _checked(self, payload: bytes, fds: Sequence[int]) -> tuple[int, int, int, int]:
        """The request's flags, index, start and count. Raises Refused where it breaks a rule."""
        argsz, flags, index, start, count = IRQ_SET.unpack(payload)
        rule = self._broken_rule(argsz, flags, index, start, count, payload[IRQ_SET.size :], fds)
        if rule:
            raise Refused(
                errno.EINVAL,
                f"{rule} (flags {flags:#x}, index {index}, start {start}, count {count}, {counted(len(fds), 'fd')})",
            )
        return flags, index, start, count

    def _broken_rule(
        self, argsz: int, flags: int, index: int, start: int, count: int, rest: bytes, fds: Sequence[int]
    ) -> str:
        """The first rule that a request breaks, in words; empty where it breaks none."""
        data, action = flags & _DATA, flags & _ACTION
        if argsz < IRQ_SET.size:
            return f"argsz must be at least {IRQ_SET.size}, not {argsz}"
        if data.bit_count() != 1 or action.bit_count() != 1 or flags & ~(_DATA | _ACTION):
            return "flags must be one kind of data and one action"
        if index >= len(self._infos):
            return f"index must be below {len(self._infos)}"
        most = self._infos[index].count
        if start >= most or start + count > most:
            return f"the vectors must be among the {most} that there are"
        if count == 0 and (start or action != IrqSet.ACTION_TRIGGER or data != IrqSet.DATA_NONE):
            return "a count of 0 disables: start 0, no data, trigger"
        if index in (IrqIndex.ERR, IrqIndex.REQ) and action != IrqSet.ACTION_TRIGGER:
            return "this kind of interrupt can only be triggered"
        if data == IrqSet.DATA_BOOL and len(rest) != count:
            return "data must be one byte a vector"
        if fds and data != IrqSet.DATA_EVENTFD:
            return "descriptors go with eventfd data only"
        if data == IrqSet.DATA_EVENTFD:
            if action != IrqSet.ACTION_TRIGGER:
                return "an eventfd that masks or unmasks is not served"
            if fds and len(fds) != count:
                return "there must be one descriptor a vector"
            if any(os.readlink(f"/proc/self/fd/{fd}") != _EVENTFD for fd in fds):
                return "the descriptors must be eventfds"
        return ""

    def _attach(self, index: int, vector: int, fd: int) -> None:
        state = self._vectors.setdefault((index, vector), _Vector())
        new = state.fd < 0
        state.give(fd)
        if new and index == IrqIndex.INTX and not state.masked and self._asserted():
            self._deliver(index, state)  # a line that is asserted when it is enabled interrupts at once

    def _mask(self, index: int, vector: int, masked: bool) -> None:
        state = self._vectors.setdefault((index, vector), _Vector())
        state.masked = masked
        if masked or state.fd < 0:
            return
        # A line that is still asserted interrupts again, as vfio-pci does it (vfio_pci_intx_unmask_handler).
        if state.pending or (index == IrqIndex.INTX and self._asserted()):
            self._deliver(index, state)

    def _deliver(self, index: int, state: _Vector) -> None:
        state.pending = state.masked
        if not state.masked:
            state.masked = bool(self._infos[index].flags & IrqFlags.AUTOMASKED)
            state.signal()

    def _disable(self, index: int, vectors: range) -> None:
        for vector in vectors:
            state = self._vectors.pop((index, vector), None)
            if state is not None:
                state.give(-1)

    def trigger(self, index: int, vector: int) -> None:
        """The device raises a vector: its eventfd is signalled, or it pends behind a mask, or it has no listener."""
        with self._lock:
            state = self._vectors.get((index, vector))
            if state is not None:
                state.pending = True
                self._deliver(index, state)

    def close(self) -> None:
        with self._lock:
            for state in self._vectors.values():
                state.give(-1)
            self._vectors.clear()


def _chosen(vectors: range, payload: bytes) -> list[int]:
    return [vector for vector, yes in zip(vectors, payload[IRQ_SET.size :], strict=True) if yes]
