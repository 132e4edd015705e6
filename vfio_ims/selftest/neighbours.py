# SPDX-License-Identifier: Apache-2.0
"""What is done to one slot leaves its neighbours alone: they deliver while it is masked, closed and allocated again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.ims import FireStatus
from vfio_ims.selftest.context import NotApplicable
from vfio_ims.selftest.slot_results import SlotResult

if TYPE_CHECKING:
    from vfio_ims.ims import ImsInterrupt
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["neighbours"]

_MOST = 32


def neighbours(context: Context, evidence: SlotEvidence, tally: Tally, skip: frozenset[int]) -> None:
    """Mask, close and allocate every other slot; fire those between after each.

    At most 32 slots, from the start and the end of the table; the slots in ``skip`` are left out.
    """
    chosen = [slot for slot in _chosen(context.slots) if slot not in skip]
    halves = [[slot for slot in chosen if slot % 2 == odd] for odd in (1, 0)]
    if not all(halves):
        raise NotApplicable("there are no two slots side by side")
    held: dict[int, ImsInterrupt] = {}
    try:
        for slot in chosen:
            held[slot] = context.domain.allocate(slot=slot)
        context.calm()
        for half, (others, kept) in enumerate((halves, halves[::-1])):
            context.report_progress(half, 2)
            if context.domain.table.has_mask and context.options.masks:
                for slot in others:
                    held[slot].mask()
                _fire(context, evidence, tally, [held[slot] for slot in kept], "masked")
                for slot in others:
                    held[slot].unmask()
            for slot in others:
                held[slot].close()
            _fire(context, evidence, tally, [held[slot] for slot in kept], "closed")
            for slot in others:
                held[slot] = context.domain.allocate(slot=slot)
            _fire(context, evidence, tally, [held[slot] for slot in kept], "allocated")
        context.calm()  # what comes twice is for the passes to say
        context.report_progress(2, 2)
    finally:
        context.domain.release(list(held), "the self-test")


def _chosen(slots: Sequence[int]) -> list[int]:
    """All, or as many as are looked at from both ends."""
    if len(slots) <= _MOST:
        return list(slots)
    return [*slots[: _MOST // 2], *slots[-_MOST // 2 :]]


def _fire(context: Context, evidence: SlotEvidence, tally: Tally, kept: Sequence[ImsInterrupt], done: str) -> None:
    """Each of ``kept`` must arrive, though its neighbours were ``done`` something to."""
    evidence.results.begin_once(f"others {done}")
    for interrupt in kept:
        slot = interrupt.slot
        if slot in evidence.disturbed:
            continue
        tally.fired += 1
        evidence.sent[slot] += 1
        if _arrives(context, evidence, interrupt):
            tally.delivered += 1
            evidence.results.note(slot, SlotResult.DELIVERED)
            continue
        context.silence()
        tally.lost += 1
        evidence.results.note(slot, SlotResult.NOT_NAMED if slot in evidence.unnamed else SlotResult.LOST)
        tally.refires += 1
        if slot not in evidence.unnamed and not _arrives(context, evidence, interrupt):
            entry, wanted = context.domain.table.read(slot), context.domain.expected(slot)
            evidence.disturbed[slot] = done, "" if entry == wanted else f"{entry} instead of {wanted}"
        else:
            evidence.lost[slot] += 1


def _arrives(context: Context, evidence: SlotEvidence, interrupt: ImsInterrupt) -> bool:
    donor = context.domain.donor_of(interrupt.slot)
    context.domain.hub.drain()
    interrupt.wakeup.take()
    before = donor.count
    if context.fire(interrupt.slot).status is not FireStatus.SENT:
        return False
    if interrupt.wait(context.fire_timeout):
        return True
    if donor.count > before:
        evidence.unnamed.add(interrupt.slot)
    return False
