# SPDX-License-Identifier: Apache-2.0
"""Finding aliased slots: every slot has a word of memory of its own, so that each is known by its word.

This shows aliasing also where there is one donor only. A word is a flag: it does not count.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError
from vfio_ims.ims import FireStatus
from vfio_ims.selftest.context import NotApplicable
from vfio_ims.selftest.entries import read_back

if TYPE_CHECKING:
    from vfio_ims.ims import PolledSlot
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["words"]


def words(context: Context, evidence: SlotEvidence, tally: Tally, skip: frozenset[int]) -> None:
    """All entries are written and read back, then each of those not in ``skip`` is fired and its word looked at."""
    if not context.options.words:
        raise NotApplicable("left out as asked")
    with contextlib.ExitStack() as stack:
        polled: dict[int, PolledSlot] = {}
        for slot in context.slots:
            try:
                polled[slot] = stack.enter_context(context.domain.allocate_polled(slot=slot))
            except UnsupportedError as error:
                raise NotApplicable(error.why) from error
        stack.callback(context.domain.release, list(polled), "the self-test")  # in one call, before each is closed
        read_back(context, evidence)
        for slot in context.slots:
            context.report_progress(slot, len(context.slots))
            if slot in skip:
                continue
            tally.fired += 1
            evidence.sent[slot] += 1
            report = context.fire(slot)
            if report.status is FireStatus.REFUSED:
                tally.refused += 1
                tally.lost += 1
                evidence.lost[slot] += 1
                evidence.refusals.setdefault(slot, str(report))
                continue
            answers = evidence.holds.get(slot, slot)  # an entry that reads back as another's will answer for it
            if not polled[answers].wait(context.fire_timeout):
                context.silence()
                _explain(context, evidence, tally, polled, slot)
            elif answers == slot:
                tally.delivered += 1
                evidence.worked.add(slot)
            else:
                tally.misrouted += 1
                evidence.answers[slot] = answers
        context.pause(context.settle)
        for slot, word in polled.items():
            if word.poll():  # set again after it was found and cleared
                tally.duplicated += 1
                evidence.echoes[slot] += 1
        context.report_progress(len(context.slots), len(context.slots))


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
        return
    if slot in written:
        evidence.worked.add(slot)
    tally.lost += 1
    evidence.lost[slot] += 1
