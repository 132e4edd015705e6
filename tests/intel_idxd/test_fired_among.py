# SPDX-License-Identifier: Apache-2.0
"""``fired`` names those that it was asked about, and keeps the others for the donor that asks about them."""

from __future__ import annotations

import random
from array import array

from vfio_ims.drivers.intel_idxd.driver.in_flight import InFlight


def test_each_slot_is_named_once_to_the_one_who_asks_about_it() -> None:
    chance = random.Random(5)
    for fired, asked in ((1, 2000), (3, 10), (40, 2000), (2000, 30), (256, 256), (5, 1), (4, 0)):
        book = InFlight()
        slots = chance.sample(range(2048), fired)
        for slot in slots:
            book.unwatch(slot, fired=True)
        mine = array("I", sorted(chance.sample(range(2048), asked)))
        assert book.fired(mine) == sorted(set(slots) & set(mine))
        assert book.fired(mine) == []
        assert book.fired(range(2048)) == sorted(set(slots) - set(mine)), "the others were not lost"


def test_an_open_slot_is_named_at_every_look() -> None:
    book = InFlight()
    book.watch(1000)
    assert book.fired(range(2048)) == book.fired(range(2048)) == [1000]
    assert book.fired(range(500)) == []
    book.unwatch(1000)
    assert book.fired(range(2048)) == []
