# SPDX-License-Identifier: Apache-2.0
"""VFIO_DEVICE_SET_IRQS and GET_IRQ_INFO as vfio-pci answers them: argument checks and which kind may be in use.

Facts: the kernel's drivers/vfio/vfio_main.c (vfio_set_irqs_validate_and_prepare) and
drivers/vfio/pci/vfio_pci_intrs.c, vfio_pci_core.c.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping, Sequence

from vfio_ims.counted import counted
from vfio_ims.errors import VfioImsError
from vfio_ims.locks import make_lock
from vfio_ims.platform.controller import Controller
from vfio_ims.platform.irq_kinds import Intx, Single, refuse_irqs
from vfio_ims.platform.message_irqs import MessageIrqs
from vfio_ims.platform.msix import MsixTable
from vfio_ims.platform.vectors import Signal
from vfio_ims.ports.values import IrqFlags, IrqIndex, IrqInfo, IrqSet

__all__ = ["Irqs"]

_DATA = IrqSet.DATA_NONE | IrqSet.DATA_BOOL | IrqSet.DATA_EVENTFD
_ACTION = IrqSet.ACTION_MASK | IrqSet.ACTION_UNMASK | IrqSet.ACTION_TRIGGER
_U32_MAX = 0xFFFF_FFFF


class Irqs:
    """All interrupts of one function. ``counts``: how many vectors it has of each kind.

    ``lock`` is the platform's delivery lock. ``changed(index, start, armed)`` is called, without that lock, with which
    vectors have a listener after a call.
    """

    def __init__(
        self,
        name: str,
        requester: int,
        counts: Mapping[int, int],
        controller: Controller,
        lock: threading.Lock,
        signal: Signal,
        *,
        dynamic: bool = True,
        level: Callable[[], bool] = lambda: False,
        changed: Callable[[int, int, Sequence[bool]], None] = lambda index, start, armed: None,
    ) -> None:
        self.name, self._counts, self._changed = name, dict(counts), changed
        self._gate = make_lock()
        self.table = MsixTable(self._counts.get(IrqIndex.MSIX, 0))
        self.intx = Intx(lock, signal, level)
        self.msi = MessageIrqs(lock, signal, controller, requester, self._counts.get(IrqIndex.MSI, 0))
        self.msix = MessageIrqs(
            lock, signal, controller, requester, self.table.count, table=self.table, dynamic=dynamic
        )
        self.singles = {IrqIndex.ERR: Single(lock, signal), IrqIndex.REQ: Single(lock, signal)}

    def info(self, index: int) -> IrqInfo:
        """GET_IRQ_INFO: only INTx can be masked; only dynamic MSI-X can grow."""
        count = self._counts.get(index, 0)
        flags = IrqFlags.EVENTFD
        if index == IrqIndex.INTX:
            flags |= IrqFlags.MASKABLE | IrqFlags.AUTOMASKED
        elif index != IrqIndex.MSIX or not self.msix.dynamic:
            flags |= IrqFlags.NORESIZE
        return IrqInfo(index, flags, count)

    def set(self, index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
        """SET_IRQS. Raises UsageError (EINVAL, EBADF), UnsupportedError (ENOTTY), DeviceBusy (ENOSPC)."""
        try:
            self._check(index, flags, start, count, data)
            with self._gate:
                try:
                    self._dispatch(IrqIndex(index), IrqSet(flags), start, count, data)
                finally:
                    if flags & IrqSet.ACTION_TRIGGER:
                        self._notify(IrqIndex(index), start, count)
        except VfioImsError as error:
            if error.device is None:
                kind = IrqIndex(index).name if 0 <= index < len(IrqIndex) else f"index {index}"
                error.device, error.operation = self.name, f"set interrupts ({kind}, start {start}, count {count})"
            raise

    def _check(self, index: int, flags: int, start: int, count: int, data: Sequence[int]) -> None:
        if not 0 <= index < len(IrqIndex):
            raise refuse_irqs(f"index must be 0 to {len(IrqIndex) - 1}, not {index!r}")
        if min(start, count) < 0 or count >= _U32_MAX - start or flags & ~(_DATA | _ACTION):
            raise refuse_irqs(f"start and count must be 32 bits and flags known, not {start}, {count}, {flags:#x}")
        have = self._counts.get(index, 0)
        if start >= have or start + count > have:
            raise refuse_irqs(f"start and count must lie within the function's {counted(have, 'such vector')}")
        kind = IrqSet(flags) & _DATA
        if kind not in (IrqSet.DATA_NONE, IrqSet.DATA_BOOL, IrqSet.DATA_EVENTFD):
            raise refuse_irqs("flags must name exactly one of DATA_NONE, DATA_BOOL and DATA_EVENTFD")
        if len(data) != (0 if kind == IrqSet.DATA_NONE else count):
            raise refuse_irqs(f"data must hold one entry a vector (none with DATA_NONE), not {len(data)}")

    def _dispatch(self, index: IrqIndex, flags: IrqSet, start: int, count: int, data: Sequence[int]) -> None:
        action = flags & _ACTION
        single = self.singles.get(index)
        if action == IrqSet.ACTION_TRIGGER:
            if single is not None:
                single.set_trigger(flags, count, data)
            else:
                self._trigger(index, flags, start, count, data)
        elif index == IrqIndex.INTX and action == IrqSet.ACTION_MASK:
            self.intx.set_mask(flags, count, data)
        elif index == IrqIndex.INTX and action == IrqSet.ACTION_UNMASK:
            self.intx.set_unmask(flags, count, data)
        else:
            hint = "mask at the device: its slots, or its own interrupt enable register"
            raise refuse_irqs("vfio-pci masks and unmasks INTx only, one action a call", hint, errno.ENOTTY)

    def _trigger(self, index: IrqIndex, flags: IrqSet, start: int, count: int, data: Sequence[int]) -> None:
        kinds: dict[IrqIndex, Intx | MessageIrqs] = {
            IrqIndex.INTX: self.intx,
            IrqIndex.MSI: self.msi,
            IrqIndex.MSIX: self.msix,
        }
        kind = kinds[index]
        if kind.enabled and not count and flags & IrqSet.DATA_NONE:
            kind.close()
            return
        for other_index, other in kinds.items():
            if other is not kind and other.enabled:
                why = f"{other_index.name} is enabled, and a function uses one kind of INTx, MSI and MSI-X at a time"
                raise refuse_irqs(why, f"disable {other_index.name} first: DATA_NONE with count 0")
        if isinstance(kind, Intx):
            kind.set_trigger(flags, count, data)
        else:
            kind.set_trigger(flags, start, count, data)

    def armed(self, index: int, vector: int) -> bool:
        """Whether an event descriptor is attached to this vector."""
        match index:
            case IrqIndex.INTX:
                return self.intx.armed
            case IrqIndex.MSI | IrqIndex.MSIX:
                return (self.msi if index == IrqIndex.MSI else self.msix).armed(vector)
        return self.singles[IrqIndex(index)].armed

    def _notify(self, index: IrqIndex, start: int, count: int) -> None:
        if not count:
            start, count = 0, self._counts.get(index, 0)
        if count:
            self._changed(index, start, [self.armed(index, vector) for vector in range(start, start + count)])

    def close(self) -> None:
        """Everything is detached and given back; idempotent."""
        with self._gate:
            for modal in (self.intx, self.msi, self.msix):
                modal.close()
            for single in self.singles.values():
                single.close()
