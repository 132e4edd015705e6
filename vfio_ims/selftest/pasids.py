# SPDX-License-Identifier: Apache-2.0
"""A slot is raised by work of its own PASID only; the device reports work of another as refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError
from vfio_ims.ims import FireReport, FireStatus
from vfio_ims.selftest.context import NotApplicable
from vfio_ims.selftest.masks import fire_withheld
from vfio_ims.selftest.reconcile import rounds
from vfio_ims.selftest.round import Rounds
from vfio_ims.selftest.slot_results import SlotResult

if TYPE_CHECKING:
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["pasids"]


def pasids(context: Context, evidence: SlotEvidence, tally: Tally, skip: frozenset[int]) -> str:
    """Every slot for one PASID, fired with another (nothing, and reported), then with its own (delivered)."""
    domain, own = context.domain, context.options.pasid
    other = own ^ 1
    if not context.options.pasids:
        raise NotApplicable("left out as asked")
    if not domain.table.has_pasid:
        raise NotApplicable("the table's entries have no PASID")
    with domain.allocate_group(len(context.slots), pasid=own) as group:
        interrupts = dict(zip(group.slots, group[:], strict=True))
        vectors = dict(zip(group.slots, domain.vectors_of(group.slots), strict=True))
        slots = [slot for slot in group.slots if slot not in skip]

        def fire_as(pasid: int) -> Callable[[Sequence[int]], list[FireReport]]:
            return lambda some: [context.fire(slot, pasid) for slot in some]

        def check(slot: int, report: FireReport) -> None:
            if report.status is not FireStatus.REFUSED:
                evidence.unreported.add(slot)

        try:
            leaks = fire_withheld(context, tally, slots, vectors, fire_as(other), check)
        except UnsupportedError as error:
            raise NotApplicable(f"the driver cannot tag work with a PASID here: {error.why or error}") from error
        evidence.pasid_leaks |= leaks
        evidence.unreported -= leaks  # what is raised is not refused, and reported as that
        evidence.results.begin("another PASID")
        evidence.results.note_all(slots, SlotResult.WITHHELD)
        evidence.results.note_all(evidence.unreported & set(slots), SlotResult.NOT_REPORTED)
        evidence.results.note_all(leaks, SlotResult.UNEXPECTED)
        evidence.results.begin("its own PASID", {slot: vectors[slot] for slot in slots})
        firing = Rounds(context, evidence, tally, interrupts, vectors, act=lambda some: _fire(context, some, own))
        for shots in rounds(slots, [vectors[slot] for slot in slots]):
            firing.fire_round(shots)
        firing.finish()
    return ""


def _fire(context: Context, slots: Sequence[int], pasid: int) -> Sequence[FireReport]:
    """Fire ``slots``, which must arrive, together. Where some are refused: those that did not arrive once more, alone.

    A refusal may be the report of all, though of some only.
    """
    counters = [donor.attached for donor in context.domain.donors_of(slots)]
    before = [counter.count for counter in counters]
    reports = context.fire_many(slots, pasid)
    if len(slots) == 1 or FireStatus.REFUSED not in [report.status for report in reports]:
        return reports
    context.pause(context.settle)
    return [
        FireReport(FireStatus.SENT) if counter.count > count else context.fire(slot, pasid)
        for slot, counter, count in zip(slots, counters, before, strict=True)
    ]
