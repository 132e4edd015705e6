# SPDX-License-Identifier: Apache-2.0
"""Keeping slots true to their donors: after a reset, and after a vector moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.ims.domain import ImsDomain

__all__ = ["check", "resync"]


def check(domain: ImsDomain) -> list[int]:
    """Rewrite the slots of every donor whose message has changed; returns their vectors."""
    changed = domain.pool.reread()
    for donor in changed:
        _rewrite(domain, donor.slots())
    return [donor.vector for donor in changed]


def resync(domain: ImsDomain) -> None:
    """Write every slot from the domain's record: the device has lost them."""
    domain.pool.reread()
    domain.parking.quiesce(range(domain.table.size))
    _rewrite(domain, domain.records.allocated)


def _rewrite(domain: ImsDomain, slots: Sequence[int]) -> None:
    """All masked with their message, then unmasked, then every owner woken: a fire meanwhile pends or is found."""
    entries = [(slot, domain.records.slot(slot)) for slot in slots]
    if domain.table.has_mask:
        domain.table.write_many([(slot, entry.with_mask(True)) for slot, entry in entries])
    domain.table.write_many(entries)
    domain.waking.wake(slots)
