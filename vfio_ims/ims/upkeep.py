# SPDX-License-Identifier: Apache-2.0
"""Writing slots again from the record: after a reset, and when their donor's message or their donor has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.ims.domain import ImsDomain

__all__ = ["resync", "rewrite"]


def resync(domain: ImsDomain) -> None:
    """Write every slot from the domain's record: the device has lost them."""
    domain.device.interrupts.donors.refresh()
    domain.parking.quiesce(range(domain.table.size))
    domain.pool.quiesced()
    rewrite(domain, domain.records.allocated)


def rewrite(domain: ImsDomain, slots: Sequence[int]) -> None:
    """All masked with their message, then unmasked, then every owner woken: a fire meanwhile pends or is found.

    All are masked before the first is unmasked: once a message has come by a moved vector's new place, the kernel
    frees the old one, and a message to that reaches whoever has it next (Linux arch/x86/kernel/apic/vector.c).
    """
    entries = [(slot, domain.records.slot(slot)) for slot in slots]
    if domain.table.has_mask:
        domain.table.write_many([(slot, entry.with_mask(True)) for slot, entry in entries])
    domain.table.write_many(entries)
    domain.waking.wake(slots)
