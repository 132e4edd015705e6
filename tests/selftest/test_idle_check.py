# SPDX-License-Identifier: Apache-2.0
"""``check_idle`` sees what is not quiet; after the close the other side is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.selftest.devices import make_model, open_model
from vfio_ims.errors import BusFault
from vfio_ims.ims.quiesce import Quiescer
from vfio_ims.messages import Slot
from vfio_ims.selftest import Options, check_idle, run

FAST = Options(timeout=0.2, settle=0.005)


@pytest.mark.parametrize("flr", [True, False])
def test_after_the_self_test_and_the_close_nothing_can_fire(flr: bool) -> None:
    opened = open_model(make_model(8, 2), flr=flr)
    driver, model = opened.driver, opened.model
    assert run(driver, options=FAST).passed
    assert check_idle(driver, 0.005) == ()
    assert driver.device.config.bus_master
    port: Any = driver.device.port
    driver.close()
    entries = [model.slots.slot(index) for index in range(8)]
    assert entries == [Slot()] * 8
    assert not model.slots.pending
    assert not model.config.bus_master
    assert not port.irqs.msix.enabled
    assert not port.irqs.msix.vectors
    with pytest.raises((BusFault, AssertionError, AttributeError)):
        model.bus.write(0x1000, b"\0" * 4)  # type: ignore[union-attr]
    assert not list(opened.platform.faults)


def test_entries_awake_loaded_or_pending_are_seen() -> None:
    opened = open_model(make_model(8, 2))
    driver, table = opened.driver, opened.driver.ims.table
    scratch = driver.ims.scratch
    table.write(2, Slot(scratch))
    table.write(3, Slot(scratch))
    driver.fire(3)
    table.write(7, Slot(scratch, masked=False))
    assert check_idle(driver, 0.005) == ("slot 7 not masked", "slots 2-3, 7 not zero", "slot 3 pending")
    driver.ims.quiesce(range(8))
    Quiescer(driver.device, table).discharge(table.pending_among(range(8)))
    assert check_idle(driver, 0.005) == ()


def test_slots_in_use_and_events_without_an_owner_are_found() -> None:
    opened = open_model(make_model(8, 2))
    driver = opened.driver
    with driver.ims.allocate(masked=True) as interrupt:
        assert check_idle(driver, 0.005)[0] == "slot 0 allocated"
    real, donor = driver.ims.hub.drain, driver.ims.donors[0]
    drains = iter([0, 1])

    def drain() -> int:
        donor.attached.count += next(drains, 0)
        return real()

    driver.ims.hub.drain = drain  # type: ignore[method-assign]
    assert check_idle(driver, 0.005) == ("vector 0 got 1 event though no slot is in use",)
    assert interrupt.closed


def test_a_table_without_masks_is_parked() -> None:
    opened = open_model(make_model(4, 2, mask=None, pending=None, control=None))
    assert run(opened.driver, options=FAST).passed
    assert check_idle(opened.driver, 0.005) == ()
    word = opened.driver.ims.scratch
    assert {opened.model.slots.slot(index).message for index in range(4)} == {word}
