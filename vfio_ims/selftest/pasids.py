# SPDX-License-Identifier: Apache-2.0
"""A slot is raised by work of its own PASID only; the device reports work of another as refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError
from vfio_ims.ims import FireReport, FireStatus
from vfio_ims.selftest.masks import fire_in_vain
from vfio_ims.selftest.reconcile import rounds
from vfio_ims.selftest.stand import NotApplicable
from vfio_ims.selftest.volley import Volley

if TYPE_CHECKING:
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.evidence import Evidence
    from vfio_ims.selftest.stand import Stand

__all__ = ["pasids"]


def pasids(stand: Stand, evidence: Evidence, tally: Tally, skip: frozenset[int]) -> str:
    """Every slot for one PASID, fired with another (nothing, and reported), then with its own (delivered)."""
    domain, own = stand.domain, stand.options.pasid
    other = own ^ 1
    if not stand.options.pasids:
        raise NotApplicable("left out as asked")
    if not domain.table.has_pasid:
        raise NotApplicable("the table's entries have no PASID")
    with domain.allocate_group(len(stand.slots), pasid=own) as group:
        interrupts = {interrupt.slot: interrupt for interrupt in group}
        vectors = {slot: interrupts[slot].donor for slot in group.slots}
        slots = [slot for slot in group.slots if slot not in skip]

        def check(slot: int, report: FireReport) -> None:
            if report.status is not FireStatus.REFUSED:
                evidence.unreported.add(slot)

        try:
            leaks = fire_in_vain(stand, tally, slots, vectors, lambda slot: stand.fire(slot, other), check)
        except UnsupportedError as error:
            raise NotApplicable(f"the driver cannot tag work with a PASID here: {error.why or error}") from error
        evidence.pasid_leaks |= leaks
        evidence.unreported -= leaks  # what is raised is not refused, and told as that
        volley = Volley(stand, evidence, tally, interrupts, vectors, act=lambda slot: stand.fire(slot, own))
        for shots in rounds(slots, [vectors[slot] for slot in slots]):
            volley.round(shots)
        volley.finish()
    return ""
