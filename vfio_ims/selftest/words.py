# SPDX-License-Identifier: Apache-2.0
"""Which slot answers? Every slot has a word of memory of its own, so that each says its own name.

This shows aliasing also where there is one donor only. A word is a flag: it does not count.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError
from vfio_ims.ims import FireStatus
from vfio_ims.selftest.entries import read_back
from vfio_ims.selftest.stand import NotApplicable

if TYPE_CHECKING:
    from vfio_ims.ims import PolledSlot
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.evidence import Evidence
    from vfio_ims.selftest.stand import Stand

__all__ = ["words"]


def words(stand: Stand, evidence: Evidence, tally: Tally, skip: frozenset[int]) -> None:
    """All entries are written and read back, then each of those not in ``skip`` is fired and its word looked at."""
    if not stand.options.words:
        raise NotApplicable("left out as asked")
    with contextlib.ExitStack() as stack:
        polled: dict[int, PolledSlot] = {}
        for slot in stand.slots:
            try:
                polled[slot] = stack.enter_context(stand.domain.allocate_polled(slot=slot))
            except UnsupportedError as error:
                raise NotApplicable(error.why) from error
        stack.callback(stand.domain.release, list(polled), "the self-test")  # in one call, before each is closed
        read_back(stand, evidence)
        for slot in stand.slots:
            stand.tell(slot, len(stand.slots))
            if slot in skip:
                continue
            tally.fired += 1
            evidence.sent[slot] += 1
            report = stand.fire(slot)
            if report.status is FireStatus.REFUSED:
                tally.refused += 1
                tally.lost += 1
                evidence.lost[slot] += 1
                evidence.refusals.setdefault(slot, str(report))
                continue
            answers = evidence.holds.get(slot, slot)  # an entry that reads back as another's will answer for it
            if not polled[answers].wait(stand.patience):
                stand.silence()
                _explain(stand, evidence, tally, polled, slot)
            elif answers == slot:
                tally.delivered += 1
                evidence.worked.add(slot)
            else:
                tally.misrouted += 1
                evidence.answers[slot] = answers
        stand.pause(stand.settle)
        for slot, word in polled.items():
            if word.poll():  # set again after it was found and cleared
                tally.duplicated += 1
                evidence.echoes[slot] += 1
        stand.tell(len(stand.slots), len(stand.slots))


def _explain(stand: Stand, evidence: Evidence, tally: Tally, polled: dict[int, PolledSlot], slot: int) -> None:
    """``slot`` left its word alone. Fired once more, with every word cleared: which one does it write?"""
    written: list[int] = []
    if stand.asks_on:
        for word in polled.values():
            word.poll()
        tally.inquiries += 1
        stand.fire(slot)
        deadline = time.monotonic() + min(stand.settle, stand.patience)
        while not written and time.monotonic() < deadline:
            written = [other for other, word in polled.items() if word.poll()]
            time.sleep(0.0002)
        if not written:
            stand.asked_in_vain()
    if written and slot not in written:
        tally.misrouted += 1
        evidence.answers[slot] = written[0]
        return
    if slot in written:
        evidence.worked.add(slot)
    tally.lost += 1
    evidence.lost[slot] += 1
