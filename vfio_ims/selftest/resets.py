# SPDX-License-Identifier: Apache-2.0
"""A reset while every slot is in use: the domain writes them again and wakes every owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.counted import by_count, counted
from vfio_ims.selftest.entries import read_back
from vfio_ims.selftest.passes import vectors_of
from vfio_ims.selftest.slot_results import SlotResult

if TYPE_CHECKING:
    from vfio_ims.ims import ImsGroup
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["reset"]


def reset(context: Context, evidence: SlotEvidence, group: ImsGroup) -> str:
    """Reset with the first pass's messages in the table, and compare the entries. Returns which reset it was."""
    vectors = vectors_of(context, group.slots, 0)
    context.domain.retarget(group.slots, [vectors[slot] for slot in group.slots])
    interrupts = list(group)
    for interrupt in interrupts:
        interrupt.wakeup.take()
    context.driver.reset()
    silent = [interrupt.slot for interrupt in interrupts if not interrupt.wakeup.raised]
    evidence.not_woken.update(silent)
    evidence.results.begin()
    evidence.results.note_all(group.slots, SlotResult.WOKEN)
    evidence.results.note_all(silent, SlotResult.NOT_WOKEN)
    differ = read_back(context, evidence)
    how = "function reset" if context.driver.device.can_reset else "the driver's own: the function has none"
    does = by_count(differ, "does not read back as it was", "do not read back as they were")
    return how + (f"; {counted(differ, 'entry')} {does} written again" if differ else "")
