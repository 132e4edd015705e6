# SPDX-License-Identifier: Apache-2.0
"""A reset while every slot is in use: the domain writes them again and wakes every owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.selftest.entries import read_back
from vfio_ims.selftest.passes import pairing

if TYPE_CHECKING:
    from vfio_ims.ims import ImsGroup
    from vfio_ims.selftest.evidence import Evidence
    from vfio_ims.selftest.stand import Stand

__all__ = ["reset"]


def reset(stand: Stand, evidence: Evidence, group: ImsGroup) -> str:
    """Reset with the first pass's messages in the table, and compare the entries. Returns which reset it was."""
    donors = stand.fitting_donors()
    stand.domain.retarget(group.slots, [donors[pairing(slot, 0, len(donors))].vector for slot in group.slots])
    interrupts = list(group)
    for interrupt in interrupts:
        interrupt.wakeup.take()
    stand.driver.reset()
    evidence.not_woken.update(interrupt.slot for interrupt in interrupts if not interrupt.wakeup.raised)
    differ = read_back(stand, evidence)
    how = "function reset" if stand.driver.device.can_reset else "the driver's own: the function has none"
    return how + (f"; {differ} entries do not read back as they were written again" if differ else "")
