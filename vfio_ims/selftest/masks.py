# SPDX-License-Identifier: Apache-2.0
"""Nothing while masked; the pending bit shown; delivered after the unmask, exactly once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from vfio_ims.ims import FireReport, FireStatus
from vfio_ims.selftest.context import NotApplicable
from vfio_ims.selftest.reconcile import Ledger, rounds
from vfio_ims.selftest.round import Rounds
from vfio_ims.selftest.slot_results import SlotResult

if TYPE_CHECKING:
    from vfio_ims.ims import ImsGroup
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["fire_withheld", "masks"]

_MOST_CAREFUL = 64


def masks(context: Context, evidence: SlotEvidence, tally: Tally, group: ImsGroup, skip: frozenset[int]) -> str:
    """Fire every slot masked, then unmask one after the other, one in flight a donor. Returns what does not apply."""
    table = context.domain.table
    if not context.options.masks:
        raise NotApplicable("left out as asked")
    if not table.has_mask:
        raise NotApplicable("the table's entries have no mask")
    interrupts = dict(zip(group.slots, group[:], strict=True))
    vectors = dict(zip(group.slots, context.domain.vectors_of(group.slots), strict=True))
    slots = [slot for slot in group.slots if slot not in skip]
    group.mask()
    leaks = fire_withheld(context, tally, slots, vectors, context.fire_many)
    evidence.leaks |= leaks
    evidence.results.begin("fired masked")
    evidence.results.note_all(slots, SlotResult.WITHHELD)
    evidence.results.note_all(leaks, SlotResult.UNEXPECTED)
    if not table.has_pending:
        group.unmask()
        context.pause(context.settle)
        return "pending bit: not applicable, the table's entries have none"
    shown = set(table.pending_among(slots))
    unshown = [slot for slot in slots if slot not in shown and slot not in leaks]
    evidence.no_pending.update(unshown)
    evidence.results.note_all(unshown, SlotResult.NO_PENDING)
    held = [slot for slot in slots if slot in shown]

    def release(some: Sequence[int]) -> None:
        context.domain.set_all_masked(some, False)

    firing = Rounds(context, evidence, tally, interrupts, vectors, act=release)
    before = dict(evidence.lost)
    evidence.results.begin("unmasked", {slot: vectors[slot] for slot in held})
    done = 0
    for shots in rounds(held, [vectors[slot] for slot in held]):
        context.report_progress(len(slots) + done, len(slots) + len(held))
        firing.fire_round(shots)
        done += len(shots)
    firing.finish()
    stuck = [slot for slot in held if evidence.lost[slot] > before.get(slot, 0) and table.pending(slot)]
    evidence.stuck.update(stuck)
    evidence.results.note_all(stuck, SlotResult.STUCK)
    group.unmask()
    return ""


def fire_withheld(
    context: Context,
    tally: Tally,
    slots: Sequence[int],
    vectors: Mapping[int, int],
    fire: Callable[[Sequence[int]], Sequence[FireReport]],
    check: Callable[[int, FireReport], None] = lambda slot, report: None,
) -> set[int]:
    """Fire slots that must raise nothing; returns those that did. ``check`` sees each report.

    From the first event that comes all the same, every round is given the settle time (at most 64 of them), so that
    the slots that leak are known, not only that some do.
    """
    context.calm()
    ledger = Ledger(context.donors())
    leaks, suspects, careful, done = set[int](), set[int](), 0, 0

    def find_leaks(*, certain: bool) -> bool:
        context.domain.hub.drain()
        extras = ledger.take_extras()
        for extra in extras:
            near = {extra.last} if certain else {extra.last, extra.before}
            (leaks if certain else suspects).update(slot for slot in near if slot is not None)
        return bool(extras)

    for shots in rounds(slots, [vectors[slot] for slot in slots], skewed=True):
        context.report_progress(done, len(slots))
        ledger.remember(shots, vectors)
        for slot, report in zip(shots, fire(shots), strict=True):
            check(slot, report)
            tally.refused += report.status is FireStatus.REFUSED
        if careful and careful < _MOST_CAREFUL:
            careful += 1
            context.pause(context.settle)
        if find_leaks(certain=bool(careful)) and not careful:
            careful = 1
            context.pause(context.settle)
            find_leaks(certain=False)
        done += len(shots)
    context.pause(context.settle)
    find_leaks(certain=bool(careful))
    for slot in sorted(suspects - leaks)[:_MOST_CAREFUL]:
        tally.refires += 1
        fire((slot,))
        context.pause(context.settle)
        if ledger.take_extras():
            leaks.add(slot)
    leaks = leaks or suspects  # it happened, though not again
    tally.unexpected += len(leaks)
    tally.withheld += len(slots) - len(leaks)
    return leaks
