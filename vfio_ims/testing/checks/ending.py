# SPDX-License-Identifier: Apache-2.0
"""The part of the conformance suite that ends the use of slots: what is left behind, and what happens beside them."""

from __future__ import annotations

import pytest

import vfio_ims
from vfio_ims.driver import Driver
from vfio_ims.messages import NO_MESSAGE, Slot
from vfio_ims.testing.contract import breach, fired_alright, neighbours_arrive


def test_a_slots_neighbours_are_left_alone(ims_driver: Driver) -> None:
    """Masked, quiesced, closed and allocated again, while the slots beside it are in use."""
    domain = ims_driver.ims
    if domain.table.size < 3:
        pytest.skip("not applicable: the table has no three slots")
    first = domain.table.size // 2 - 1
    below, middle, above = (domain.allocate(slot=slot) for slot in range(first, first + 3))
    kept = below, above
    for irq in (below, middle, above):
        fired_alright(ims_driver, irq, "with its neighbours in use")
    if domain.table.has_mask:
        middle.mask()
        neighbours_arrive(ims_driver, kept, "ims_table", f"slot {middle.slot} was masked")
        middle.unmask()
        neighbours_arrive(ims_driver, kept, "ims_table", f"slot {middle.slot} was unmasked")
    ims_driver.quiesce(middle.slot)
    neighbours_arrive(ims_driver, kept, "quiesce", f"slot {middle.slot} was quiesced")
    middle.close()
    neighbours_arrive(ims_driver, kept, "ims_table", f"slot {middle.slot} was closed")
    with domain.allocate(slot=middle.slot) as again:
        neighbours_arrive(ims_driver, kept, "ims_table", f"slot {middle.slot} was allocated again")
        fired_alright(ims_driver, again, "allocated again")


def test_closing_leaves_the_table_quiet(vfio_name: str) -> None:
    with vfio_ims.open_driver(vfio_name) as driver:
        domain = driver.ims
        table, irq = domain.table, domain.allocate()
        fired_alright(driver, irq, "before closing")
        domain.close()
        if table.has_mask:
            zeroed = Slot(table.limits.kept(NO_MESSAGE))
            found = f"slot {irq.slot} was left as {table.read(irq.slot)}"
            assert table.read(irq.slot) == zeroed, breach(driver, "ims_table", "a slot that is zeroed stays so", found)
    assert driver.device.closed, breach(driver, "stop", "closing the driver closes its device", "it is open")
