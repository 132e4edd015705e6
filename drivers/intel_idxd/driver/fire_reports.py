# SPDX-License-Identifier: Apache-2.0
"""What the device has to say of slots that it raised: sent, or held back."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.driver import FireReport
from vfio_ims.errors import check_index
from vfio_ims.ims import FireStatus

from ..hardware.tables import SLOTS

if TYPE_CHECKING:
    from .resources import Resources

__all__ = ["FireReports"]

_SENT, _PENDING = FireReport(FireStatus.SENT, code=1), FireReport(FireStatus.PENDING, code=1)
_CONTROL, _MASKED, _HELD = SLOTS.control or 0, 1 << (SLOTS.mask or 0), 1 << (SLOTS.pending or 0)
_SETTLE = 0.001  # seconds in which a masked slot's pending bit follows the completion record [inferred]


class FireReports:
    """Reports of fires that the device took, from the control words of the slots."""

    def __init__(self, resources: Resources) -> None:
        layout = resources.capabilities.slot_layout
        self._resources, self._layout = resources, layout or SLOTS
        self.slots = 0 if layout is None else layout.count
        """How many slots there are."""
        self._bar = resources.device.bar(self._layout.bar)

    def check(self, slots: Sequence[int]) -> None:
        """UsageError unless each of ``slots`` is one of the table's."""
        count = self.slots
        for slot in slots:
            if type(slot) is not int or not 0 <= slot < count:  # asked here: it is of every slot
                check_index(slot, count, "slot", "fire a slot", self._resources.label)

    def of(self, slot: int) -> FireReport:
        """``slot`` was raised; its control word says whether it holds the interrupt back."""
        control = self._bar.read32(self._layout.offset + slot * self._layout.stride + _CONTROL)
        return self._judge(slot, control)

    def of_each(self, slots: Sequence[int]) -> list[FireReport]:
        """As ``of``: the control words are read in one compiled call."""
        at = self._layout.offset + _CONTROL
        words = memoryview(self._bar.read_table(at, self._layout.stride, array("I", slots))).cast("I")
        return [
            self._judge(slot, control) if control & _MASKED else _PENDING if control & _HELD else _SENT
            for slot, control in zip(slots, words, strict=True)
        ]

    def _judge(self, slot: int, control: int) -> FireReport:
        if control & _MASKED and not control & _HELD:
            place = self._layout.offset + slot * self._layout.stride + _CONTROL
            control = self._bar.poll(place, 4, _HELD, _HELD, _SETTLE)
        return _PENDING if control & _HELD else _SENT
