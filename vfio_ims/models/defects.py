# SPDX-License-Identifier: Apache-2.0
"""Broken slot tables on purpose: each defect is one that the self-test has to find and name."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from vfio_ims.messages import FireStatus, Slot
from vfio_ims.models.slot_store import SlotStore

__all__ = ["DEFECTS", "shown_by"]


class AliasedSlots(SlotStore):
    """Address line 10 of the table is not connected: entry 64 + n is entry n (in small tables, the upper half)."""

    def _line(self) -> int:
        return min(64, self.layout.count // 2)

    def store(self, offset: int, data: bytes) -> list[int]:
        index, word = divmod(offset, self.layout.stride)
        return super().store((index & ~self._line()) * self.layout.stride + word, data)

    def load(self, offset: int, size: int) -> bytes:
        index, word = divmod(offset, self.layout.stride)
        return super().load((index & ~self._line()) * self.layout.stride + word, size)

    def fire(self, index: int, pasid: int | None = None) -> FireStatus:
        return super().fire(index & ~self._line(), pasid)


class MaskBlindSlots(SlotStore):
    """Sends although the slot is masked. The PASID is compared."""

    def fire(self, index: int, pasid: int | None = None) -> FireStatus:
        outcome = super().fire(index, pasid)
        if outcome is not FireStatus.PENDING:
            return outcome
        self._unset_pending(index)
        self.emit(index, self.slot(index))
        return FireStatus.SENT


class TwiceSlots(SlotStore):
    """Sends again 1 ms later."""

    _echo: Echo | None = None

    def emit(self, index: int, slot: Slot) -> None:
        super().emit(index, slot)
        if self._echo is None:
            self._echo = Echo(0.001, super().emit)
        self._echo.after(index, slot)

    def close(self) -> None:
        if self._echo is not None:
            self._echo.close()
        super().close()


class Echo:
    """Calls ``emit`` again ``delay`` seconds after each ``after``, from a thread of its own."""

    def __init__(self, delay: float, emit: Callable[[int, Slot], None]) -> None:
        self._delay, self._emit = delay, emit
        self._due: queue.SimpleQueue[tuple[float, int, Slot] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="echoing slots", daemon=True).start()

    def after(self, index: int, slot: Slot) -> None:
        self._due.put((time.monotonic() + self._delay, index, slot))

    def _run(self) -> None:
        while (item := self._due.get()) is not None:
            due, index, slot = item
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self._emit(index, slot)

    def close(self) -> None:
        self._due.put(None)


class DroppingSlots(SlotStore):
    """Forgets every thousandth message (in a table under 1000 entries, every ``count``-th)."""

    _sent = 0

    def emit(self, index: int, slot: Slot) -> None:
        self._sent += 1
        if self._sent % min(1000, self.layout.count):
            super().emit(index, slot)


class ForgettingSlots(SlotStore):
    """Once it has worked, a reset kills the upper half of the table: it keeps nothing that is written to it.

    Resets before the first fire are harmless: opening makes some, how many depends on the mount and the driver.
    """

    _worked = _dead = False

    def reset(self) -> None:
        super().reset()
        self._dead = self._worked

    def store(self, offset: int, data: bytes) -> list[int]:
        return [] if self._lost(offset // self.layout.stride) else super().store(offset, data)

    def fire(self, index: int, pasid: int | None = None) -> FireStatus:
        self._worked = True
        # A client's stores to a mapped table cannot be kept from it: there the entry is there, and sends nothing.
        return FireStatus.SENT if self._lost(index) else super().fire(index, pasid)

    def _lost(self, index: int) -> bool:
        return self._dead and index >= self.layout.count // 2


class ClearingSlots(SlotStore):
    """Giving a slot up clears its neighbour's message as well: that of the slot whose number differs in bit 0.

    A slot is given up when its address becomes 0; where all share one address, when its data does.
    """

    def store(self, offset: int, data: bytes) -> list[int]:
        stride, shared = self.layout.stride, self.layout.limits.one_address
        last = min(offset + len(data) - 1, self.layout.size - 1)
        entries = range(offset // stride, last // stride + 1)
        before = {index: self._given_up(index, shared) for index in entries}
        touched = super().store(offset, data)
        for index in entries:
            neighbour = index ^ 1
            if self._given_up(index, shared) and not before[index] and neighbour < self.layout.count:
                for at in (self.layout.data,) if shared else (self.layout.low, self.layout.high):
                    if at is not None:
                        super().store(neighbour * stride + at, bytes(2 if self.layout.packed else 4))
        return touched

    def _given_up(self, index: int, shared: bool) -> bool:
        message = self.slot(index).message
        return not message.data if shared else not message.address


DEFECTS: dict[str, type[SlotStore]] = {
    "alias": AliasedSlots,
    "ignores-mask": MaskBlindSlots,
    "twice": TwiceSlots,
    "drops": DroppingSlots,
    "forgets": ForgettingSlots,
    "clears-neighbour": ClearingSlots,
}
"""By the name that a model's ``defect`` option takes."""


def shown_by(store: SlotStore) -> list[str]:
    """The defects that a model with this store can show; none where it is no plain one and no defective one either."""
    if type(store) not in (SlotStore, *DEFECTS.values()):
        return []
    layout = store.layout
    lacks = set()
    if layout.count < 2:
        lacks |= {"alias", "forgets", "clears-neighbour"}
    if not layout.has_mask:
        lacks.add("ignores-mask")
        if not layout.limits.one_address:  # what parks an entry is an address like any other
            lacks.add("clears-neighbour")
    if store.fd >= 0:  # a client's stores to its mapping are not seen
        lacks.add("clears-neighbour")
    return [name for name in DEFECTS if name not in lacks]
