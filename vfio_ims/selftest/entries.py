# SPDX-License-Identifier: Apache-2.0
"""Reading every entry back as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["read_back"]


def read_back(context: Context, evidence: SlotEvidence) -> int:
    """Compare every allocated entry with the record; returns how many differ.

    An entry that holds another slot's message, where each has its own, is an alias of that slot.
    """
    report = context.domain.report()
    owners: dict[tuple[int, int], int | None] = {}
    for entry in report.slots:  # None: a donor's message, which several share
        message = entry.expected.message
        own = message.address, message.data
        owners[own] = None if own in owners else entry.slot
    differ = 0
    for entry in report.slots:
        if entry.in_order:
            continue
        differ += 1
        found = entry.found.message
        owner = owners.get((found.address, found.data))
        if owner is not None and owner != entry.slot:
            evidence.holds[entry.slot] = owner
        else:
            evidence.unkept[entry.slot] = f"{entry.found} instead of {entry.expected}"
    return differ
