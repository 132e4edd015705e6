# SPDX-License-Identifier: Apache-2.0
"""Broken slot tables on purpose: each defect is one that the self-test has to find and name."""

from __future__ import annotations

import threading

from vfio_ims.messages import Slot
from vfio_ims.models.slot_store import Outcome, SlotStore

__all__ = ["DEFECTS"]


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

    def fire(self, index: int, pasid: int | None = None) -> Outcome:
        return super().fire(index & ~self._line(), pasid)


class MaskBlindSlots(SlotStore):
    """Sends although the slot is masked."""

    def fire(self, index: int, pasid: int | None = None) -> Outcome:
        self.emit(index, self.slot(index))
        return Outcome.SENT


class TwiceSlots(SlotStore):
    """Sends again 1 ms later."""

    def emit(self, index: int, slot: Slot) -> None:
        super().emit(index, slot)
        again = threading.Timer(0.001, super().emit, (index, slot))
        again.daemon = True
        again.start()


class DroppingSlots(SlotStore):
    """Forgets every thousandth message (in a table under 1000 entries, every ``count``-th)."""

    _sent = 0

    def emit(self, index: int, slot: Slot) -> None:
        self._sent += 1
        if self._sent % min(1000, self.layout.count):
            super().emit(index, slot)


class ForgettingSlots(SlotStore):
    """After its first reset the upper half of the table keeps nothing that is written to it."""

    _resets = 0

    def reset(self) -> None:
        super().reset()
        self._resets += 1

    def store(self, offset: int, data: bytes) -> list[int]:
        # The first reset is power-on, the second the driver's own at start.
        if self._resets > 2 and offset >= self.layout.size // 2:
            return []
        return super().store(offset, data)


DEFECTS: dict[str, type[SlotStore]] = {
    "alias": AliasedSlots,
    "ignores-mask": MaskBlindSlots,
    "twice": TwiceSlots,
    "drops": DroppingSlots,
    "forgets": ForgettingSlots,
}
"""By the name that a model's ``defect`` option takes."""
