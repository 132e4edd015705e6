# SPDX-License-Identifier: Apache-2.0
"""Every slot over the donors: pass p pairs slot i with the donor that digit p of i, in base D, names.

So each slot has a sequence of donors of its own, and a slot that answers for another shows by the other's sequence.
All slots are programmed before any fires.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.selftest.reconcile import Extra, rounds
from vfio_ims.selftest.round import Rounds

if TYPE_CHECKING:
    from vfio_ims.ims import ImsGroup
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.slot_evidence import SlotEvidence

_ROUNDS = 16  # of the first pass that share one dwell time

__all__ = ["donor_passes", "pairing", "pass_count", "passes_of", "vectors_of"]


def pass_count(slots: int, donors: int) -> int:
    """The least number of digits in base ``donors`` that distinguishes ``slots``; 1 where there is one donor."""
    count, reach = 1, donors
    while donors > 1 and reach < slots:
        count, reach = count + 1, reach * donors
    return count


def pairing(slots: Iterable[int], number: int, donors: int) -> list[int]:
    """The place among the donors of each of ``slots`` in pass ``number``."""
    unit = int(donors**number)
    return [slot // unit % donors for slot in slots]


def passes_of(context: Context, slots: Sequence[int]) -> int:
    """How many passes tell all of ``slots``, which are in use, apart."""
    parts = context.domain.table.limits.by_address(slots)
    return max(pass_count(len(slots), len(context.fitting_donors(part))) for part in parts)


def vectors_of(context: Context, slots: Sequence[int], number: int) -> dict[int, int]:
    """The vector of each of ``slots`` in pass ``number``: one of the donors whose message it can hold."""
    vectors: dict[int, int] = {}
    for part in context.domain.table.limits.by_address(slots):
        found = [donor.vector for donor in context.fitting_donors(part)]
        places = pairing(part, number, len(found))
        vectors.update(zip(part, [found[place] for place in places], strict=True))
    return vectors


def donor_passes(
    context: Context,
    evidence: SlotEvidence,
    tally: Tally,
    group: ImsGroup,
    skip: frozenset[int],
    *,
    programmed: bool = False,
) -> None:
    """All passes over ``group``, firing the slots that are not in ``skip``.

    ``programmed``: the table holds the first pass's messages already. In the very first pass slots fire one after the
    other and each is measured; a few rounds are then left alone for the dwell time, so that an echo shows.
    """
    domain, slots = context.domain, list(group.slots)
    interrupts = dict(zip(slots, group[:], strict=True))
    passes = passes_of(context, slots)
    fired = [slot for slot in slots if slot not in skip]
    for number in range(passes):
        vectors = vectors_of(context, slots, number)
        if number or not programmed:
            domain.retarget(slots, [vectors[slot] for slot in slots])
        evidence.results.begin(f"pass {number + 1}", {slot: vectors[slot] for slot in fired})
        careful = number == 0 and not evidence.after_reset
        firing = Rounds(context, evidence, tally, interrupts, vectors, number=number)
        whole = list(rounds(fired, [vectors[slot] for slot in fired], skewed=not careful))
        done = number * len(fired)
        for first in range(0, len(whole), _ROUNDS):
            some, extras = whole[first : first + _ROUNDS], list[Extra]()
            for shots in some:
                context.report_progress(done, passes * len(fired))
                if careful:
                    extras += firing.fire_apart(shots)
                else:
                    firing.fire_round(shots)
                done += len(shots)
            if careful:
                context.pause(context.options.dwell)
                extras += firing.settled()
            if extras:
                firing.fire_again(some, extras)
        firing.finish()
    context.report_progress(passes * len(fired), passes * len(fired))
