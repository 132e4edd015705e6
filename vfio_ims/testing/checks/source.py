# SPDX-License-Identifier: Apache-2.0
"""``fired``, ``quiesce`` and ``status``: what the driver knows of its source."""

from __future__ import annotations

import pytest

from vfio_ims.driver import Driver
from vfio_ims.testing.contract import breach, fired_alright, fired_slots
from vfio_ims.testing.silence import silent


def test_a_slot_that_fired_is_reported_at_least_once(ims_driver: Driver) -> None:
    slots = list(ims_driver.ims.allocate_group(4).slots)
    assert fired_slots(ims_driver, slots) == [], breach(
        ims_driver, "fired", "those that have fired", "named before any fire"
    )
    ims_driver.fire(slots[1])
    ims_driver.fire(slots[3])
    first = fired_slots(ims_driver, slots[:2])
    promise = "a slot that fired is named at least once, also when it was not asked of at first"
    found = f"{slots[1]} and {slots[3]} fired; asked of {slots[:2]} it named {first}"
    assert first == [slots[1]], breach(ims_driver, "fired", promise, found)
    later = fired_slots(ims_driver, slots)
    assert slots[3] in later, breach(ims_driver, "fired", promise, f"asked of {slots} then, it named {later}")
    none = fired_slots(ims_driver, [])
    found = f"asked of no slot it named {none}"
    assert none == [], breach(ims_driver, "fired", "those of the slots that it was asked of", found)
    ims_driver.fire(slots[1])
    again = fired_slots(ims_driver, slots)
    assert slots[1] in again, breach(ims_driver, "fired", promise, f"{slots[1]} fired again, and it named {again}")


def test_a_quiesced_slot_is_silent_and_can_be_used_again(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate()
    promise = "on return nothing in the device refers to the slot; it may be idle, and asked of twice"
    try:
        ims_driver.quiesce(irq.slot)
        ims_driver.quiesce(irq.slot)
        fired_alright(ims_driver, irq, "after quiesce")
        ims_driver.quiesce(irq.slot)
    except Exception as error:  # noqa: BLE001
        pytest.fail(breach(ims_driver, "quiesce", promise, f"it raised {error!r}"))
    assert silent(irq), breach(ims_driver, "quiesce", promise, f"slot {irq.slot} was raised afterwards")


def test_status_has_nothing_to_say_while_all_is_well(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        fired_alright(ims_driver, irq, "before status")
    found = ims_driver.status()
    assert found == "", breach(ims_driver, "status", '"" where all is well', f"{found!r}")
