# SPDX-License-Identifier: Apache-2.0
"""Checking that a device on which no slot is allocated is quiet, as far as that shows while it is open."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.selftest.findings import name_slots

if TYPE_CHECKING:
    from vfio_ims.driver import Driver

__all__ = ["check_idle"]


def check_idle(driver: Driver, settle: float | None = None) -> tuple[str, ...]:
    """What is not quiet on a device of which no slot is allocated; () where all is.

    Every entry must be as it is when it is not in use (masked and zero; parked on the scratch word, where entries have
    no mask) with nothing pending,
    and no donor may count within ``settle`` seconds (None: the mount's own time). Closing the driver then disables
    the device, releases the vectors and clears bus mastering.
    """
    domain = driver.ims
    table, problems = domain.table, []
    allocated = domain.allocated
    if allocated:
        problems.append(f"{name_slots(allocated)} allocated")
    awake, loaded, pending = [], [], table.pending_among(range(table.size))
    quiet = domain.quiet_entry
    for slot, entry in enumerate(table.read_many(range(table.size))):
        if quiet.masked and not entry.masked:
            awake.append(slot)
        if entry.message != quiet.message:
            loaded.append(slot)
    for slots, state in ((awake, "not masked"), (loaded, "not zero"), (pending, "pending")):
        if slots:
            problems.append(f"{name_slots(slots, table.size)} {state}")
    domain.hub.drain()  # what came before is not asked about
    before = {vector: donor.count for vector, donor in domain.donors.items()}
    deadline = time.monotonic() + (driver.device.port.settle if settle is None else settle)
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.01))
        domain.hub.drain()
    for vector, donor in domain.donors.items():
        if donor.count > before.get(vector, 0):
            problems.append(
                f"vector {vector} got {counted(donor.count - before.get(vector, 0), 'event')} though no slot is in use"
            )
    return tuple(problems)
