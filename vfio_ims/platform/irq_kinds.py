# SPDX-License-Identifier: Apache-2.0
"""The interrupts of one vector that carry no message: INTx, and the kernel's own ERR and REQ.

Semantics: the kernel's drivers/vfio/pci/vfio_pci_intrs.c. Methods named ``set_*`` are called one at a time (the
kernel's igate); what a device or the config space sets off takes the platform's lock only.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence

from vfio_ims.errors import VfioImsError
from vfio_ims.platform.refusals import refusal
from vfio_ims.platform.vectors import Signal, Vector, hold_eventfd
from vfio_ims.ports.values import IrqSet

__all__ = ["Intx", "Single", "refuse_irqs"]


def refuse_irqs(why: str, hint: str = "", code: int = errno.EINVAL) -> VfioImsError:
    """The error of a SET_IRQS that the kernel would refuse; the device's name is filled in by ``Irqs.set``."""
    return refusal(code, "set interrupts", why=why, hint=hint)


def _fire(flags: IrqSet, data: Sequence[int]) -> bool:
    return bool(flags & IrqSet.DATA_NONE or data[0])


class Single:
    """ERR or REQ: one eventfd, no mode to enable."""

    def __init__(self, lock: threading.Lock, signal: Signal) -> None:
        self._lock, self.vector = lock, Vector(signal)

    @property
    def armed(self) -> bool:
        return self.vector.fd >= 0

    def set_trigger(self, flags: IrqSet, count: int, data: Sequence[int]) -> None:
        if flags & IrqSet.DATA_NONE:
            if not self.armed:
                raise refuse_irqs("no eventfd is attached", "attach one with DATA_EVENTFD first")
            with self._lock:
                self.vector.deliver() if count else self.vector.silence()
            return
        if not count:
            raise refuse_irqs("count must be 1, not 0", "use DATA_NONE with count 0 to detach")
        if flags & IrqSet.DATA_BOOL:
            if data[0]:
                self.deliver()
        elif data[0] >= 0:
            own = hold_eventfd(data[0])
            with self._lock:
                self.vector.listen(own)
        elif data[0] == -1:
            self.close()

    def deliver(self) -> None:
        """The event happens."""
        with self._lock:
            if self.armed:
                self.vector.deliver()

    def close(self) -> None:
        with self._lock:
            self.vector.silence()


class Intx:
    """A level interrupt: it masks itself when it is delivered, and unmasking delivers again what still pends.

    ``level`` asks the device whether its line is asserted (the status register's interrupt bit, as
    pci_check_and_unmask_intx does); it is called without the platform's lock.
    """

    def __init__(self, lock: threading.Lock, signal: Signal, level: Callable[[], bool]) -> None:
        self._lock, self._level, self.vector = lock, level, Vector(signal)
        self.enabled = self.masked = self.pending = False
        self.disabled = False  # by the command register's interrupt-disable bit

    @property
    def armed(self) -> bool:
        return self.enabled and self.vector.fd >= 0

    def deliver(self) -> None:
        """The device asserts its line."""
        with self._lock:
            self._deliver()

    def _deliver(self) -> None:
        if not self.enabled:
            return
        if self.masked or self.disabled or self.vector.fd < 0:
            self.pending = True
            return
        self.masked, self.pending = True, False
        self.vector.deliver()

    def set_trigger(self, flags: IrqSet, count: int, data: Sequence[int]) -> None:
        if count != 1:
            raise refuse_irqs(f"INTx has one vector, so count must be 1, not {count}")
        if flags & IrqSet.DATA_EVENTFD:
            with self._lock:
                self.vector.silence()
            own = hold_eventfd(data[0]) if data[0] >= 0 else -1
            with self._lock:
                self.vector.fd = own
                if not self.enabled:
                    self.enabled, self.masked, self.pending = True, self.disabled, False
            self._replay()
            return
        if not self.enabled:
            raise refuse_irqs("INTx is not enabled", "attach an eventfd with DATA_EVENTFD first")
        if _fire(flags, data):
            with self._lock:
                if not self.disabled:
                    self.vector.deliver()

    def set_mask(self, flags: IrqSet, count: int, data: Sequence[int]) -> None:
        self._check_masking(count)
        if flags & IrqSet.DATA_EVENTFD:
            raise refuse_irqs("masking by eventfd is not implemented", "mask with DATA_NONE", errno.ENOTTY)
        if _fire(flags, data):
            with self._lock:
                self.masked = True

    def set_unmask(self, flags: IrqSet, count: int, data: Sequence[int]) -> None:
        self._check_masking(count)
        if flags & IrqSet.DATA_EVENTFD:
            if data[0] >= 0:
                hint = "unmask with DATA_NONE after serving the interrupt"
                raise refuse_irqs("the software platform does not unmask by eventfd", hint, errno.EOPNOTSUPP)
        elif _fire(flags, data):
            self.unmask()

    def _check_masking(self, count: int) -> None:
        if not self.enabled or count != 1:
            raise refuse_irqs("INTx must be enabled and count 1", "attach an eventfd with DATA_EVENTFD first")

    def unmask(self) -> None:
        """Unmask; what pends is delivered at once and masks again."""
        with self._lock:
            if not self.enabled or self.disabled:
                return
            self.masked = False
        self._replay()

    def _replay(self) -> None:
        asserted = self._level()
        with self._lock:
            if not self.masked and (self.pending or asserted):
                self._deliver()

    def disable(self, off: bool) -> None:
        """The command register's interrupt-disable bit changed."""
        if off == self.disabled:
            return
        with self._lock:
            self.disabled = off
            if off:
                self.masked = True
        if not off:
            self.unmask()

    def close(self) -> None:
        with self._lock:
            self.vector.silence()
            self.enabled = self.masked = self.pending = False
