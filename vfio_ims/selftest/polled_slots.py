# SPDX-License-Identifier: Apache-2.0
"""Finding aliased slots: every slot has a word of memory of its own, so that each is known by its word.

This shows aliasing also where there is one donor only. A word is a flag: it does not count.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError
from vfio_ims.ims import FireStatus
from vfio_ims.ims.polled import poll_each
from vfio_ims.selftest.context import NotApplicable
from vfio_ims.selftest.entries import read_back
from vfio_ims.selftest.slot_results import SlotResult

if TYPE_CHECKING:
    from vfio_ims.ims import PolledSlot
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["words"]


def words(context: Context, evidence: SlotEvidence, tally: Tally, skip: frozenset[int]) -> None:
    """All entries are written and read back, then those not in ``skip`` are fired and their words looked at."""
    if not context.options.words:
        raise NotApplicable("left out as asked")
    try:
        group = context.domain.allocate_polled_group(len(context.slots))
    except UnsupportedError as error:
        raise NotApplicable(error.why) from error
    polled = {word.slot: word for word in group}
    try:
        read_back(context, evidence)
        evidence.results.begin()
        for batch in _batches(context, [slot for slot in context.slots if slot not in skip]):
            context.report_progress(batch[0], len(context.slots))
            _fire(context, evidence, tally, polled, batch)
        context.pause(context.settle)
        for slot, again in zip(polled, poll_each(list(polled.values())), strict=True):
            if again:  # set after it was found and cleared
                tally.duplicated += 1
                evidence.echoes[slot] += 1
                evidence.results.note(slot, SlotResult.EXTRA)
        context.report_progress(len(context.slots), len(context.slots))
    finally:
        context.domain.release(list(polled), "the self-test")


def _batches(context: Context, slots: Sequence[int]) -> Iterator[list[int]]:
    """``slots`` in batches of neighbours, as many as there are donors: one round of the first pass.

    Two that write each other's words do not show when they are fired together: these two fire apart there. Where there
    are fewer slots than it takes for later rounds to separate them as well, each is fired alone.
    """
    donors = len(context.domain.eligible_vectors)
    size = donors if len(context.slots) >= donors * donors else 1
    batches: dict[int, list[int]] = {}
    for slot in slots:
        batches.setdefault(slot // size, []).append(slot)
    yield from batches.values()


def _fire(
    context: Context, evidence: SlotEvidence, tally: Tally, polled: dict[int, PolledSlot], slots: Sequence[int]
) -> None:
    """Fire ``slots`` together, then look at the word of each."""
    tally.fired += len(slots)
    evidence.sent.update(slots)
    silent, reports = [], context.fire_many(slots)
    arrived = set[int]()
    if not evidence.holds:  # each answers for itself, and most have by now
        taken = [slot for slot, report in zip(slots, reports, strict=True) if report.status is not FireStatus.REFUSED]
        written = poll_each([polled[slot] for slot in taken])
        arrived.update([slot for slot, one in zip(taken, written, strict=True) if one])
        tally.delivered += len(arrived)
        evidence.worked |= arrived
        evidence.results.note_all(arrived, SlotResult.DELIVERED)
    for slot, report in zip(slots, reports, strict=True):
        if slot in arrived:
            continue
        if report.status is FireStatus.REFUSED:
            tally.refused += 1
            tally.lost += 1
            evidence.lost[slot] += 1
            evidence.refusals.setdefault(slot, str(report))
            evidence.results.note(slot, SlotResult.REFUSED)
            continue
        answers = evidence.holds.get(slot, slot)  # an entry that reads back as another's will answer for it
        if not polled[answers].wait(context.fire_timeout):
            context.silence()
            silent.append(slot)
        elif answers == slot:
            tally.delivered += 1
            evidence.worked.add(slot)
            evidence.results.note(slot, SlotResult.DELIVERED)
        else:
            tally.misrouted += 1
            evidence.answers[slot] = answers
            evidence.results.note(slot, SlotResult.MISROUTED)
    for slot in silent:  # last: it looks at every word, and clears them
        _explain(context, evidence, tally, polled, slot)


def _explain(context: Context, evidence: SlotEvidence, tally: Tally, polled: dict[int, PolledSlot], slot: int) -> None:
    """Find the word that ``slot`` writes, which left its own alone: fired once more, with every word cleared."""
    written: list[int] = []
    if context.may_refire:
        for word in polled.values():
            word.poll()
        tally.refires += 1
        context.fire(slot)
        deadline = time.monotonic() + min(context.settle, context.fire_timeout)
        while not written and time.monotonic() < deadline:
            written = [other for other, word in polled.items() if word.poll()]
            time.sleep(0.0002)
        if not written:
            context.refire_was_silent()
    if written and slot not in written:
        tally.misrouted += 1
        evidence.answers[slot] = written[0]
        evidence.results.note(slot, SlotResult.MISROUTED)
        return
    if slot in written:
        evidence.worked.add(slot)
    tally.lost += 1
    evidence.lost[slot] += 1
    evidence.results.note(slot, SlotResult.LOST)
