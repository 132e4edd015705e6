# SPDX-License-Identifier: Apache-2.0
"""Every slot over the donors: pass p pairs slot i with the donor that digit p of i, in base D, names.

So each slot has a sequence of donors of its own, and a slot that answers for another shows by the other's sequence.
All slots are programmed before any fires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.selftest.reconcile import rounds
from vfio_ims.selftest.volley import Volley

if TYPE_CHECKING:
    from vfio_ims.ims import ImsGroup
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.evidence import Evidence
    from vfio_ims.selftest.stand import Stand

__all__ = ["donor_passes", "pairing", "pass_count"]


def pass_count(slots: int, donors: int) -> int:
    """The least number of digits in base ``donors`` that tells ``slots`` apart; 1 where there is one donor."""
    count, reach = 1, donors
    while donors > 1 and reach < slots:
        count, reach = count + 1, reach * donors
    return count


def pairing(slot: int, number: int, donors: int) -> int:
    """The place among the donors of ``slot`` in pass ``number``."""
    return slot // int(donors**number) % donors


def donor_passes(
    stand: Stand, evidence: Evidence, tally: Tally, group: ImsGroup, skip: frozenset[int], *, programmed: bool = False
) -> None:
    """All passes over ``group``, firing the slots that are not in ``skip``.

    ``programmed``: the table holds the first pass's messages already. In the very first pass slots fire one after the
    other, each is measured, and left alone for the dwell time, so that an echo shows and is its own.
    """
    domain, slots = stand.domain, list(group.slots)
    donors = stand.fitting_donors()
    interrupts = {interrupt.slot: interrupt for interrupt in group}
    passes = pass_count(len(slots), len(donors))
    fired = [slot for slot in slots if slot not in skip]
    for number in range(passes):
        vectors = {slot: donors[pairing(slot, number, len(donors))].vector for slot in slots}
        if number or not programmed:
            domain.retarget(slots, [vectors[slot] for slot in slots])
        careful = number == 0 and not evidence.after_reset
        volley = Volley(stand, evidence, tally, interrupts, vectors, number=number)
        done = 0
        for shots in rounds(fired, [vectors[slot] for slot in fired]):
            stand.tell(number * len(fired) + done, passes * len(fired))
            volley.round(shots, apart=careful, dwell=stand.options.dwell if careful else 0.0)
            done += len(shots)
        volley.finish()
    stand.tell(passes * len(fired), passes * len(fired))
