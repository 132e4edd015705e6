# SPDX-License-Identifier: Apache-2.0
"""A slot that fired just before it was masked: its message is under way, and its owner must still be woken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

import vfio_ims
from tests.behaviour.common import arrives
from vfio_ims.driver import FireReport
from vfio_ims.drivers.minimal.driver import Minimal
from vfio_ims.testing import silent


class Tells(Minimal):
    """Knows which slot fired, as a driver with completion records does."""

    def start(self) -> None:
        self.recent: set[int] = set()
        super().start()

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        self.recent.add(slot)
        return super().fire(slot, pasid=pasid)

    def fired(self, slots: Sequence[int]) -> Sequence[int]:
        found = [slot for slot in slots if slot in self.recent]
        self.recent.difference_update(found)
        return found


@pytest.fixture
def driver() -> Iterator[Tells]:
    with Tells.start_on(vfio_ims.open("mock:minimal")) as started:
        yield started


def test_a_fire_just_before_mask_wakes_the_owner(driver: Tells) -> None:
    fired, other = driver.ims.allocate(vector=0), driver.ims.allocate(vector=0)
    driver.fire(fired.slot)
    fired.mask()
    assert arrives(fired)
    assert silent(other)


def test_a_fire_just_before_a_group_is_masked_wakes_the_owner(driver: Tells) -> None:
    group = driver.ims.allocate_group(3)
    driver.fire(group.slots[1])
    group.mask()
    assert arrives(group[1])
    assert silent(group[2])
