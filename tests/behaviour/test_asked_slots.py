# SPDX-License-Identifier: Apache-2.0
"""The slots that a driver is asked about when an event comes: those that can have fired, however they have changed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest

import vfio_ims
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.ims import ImsInterrupt


class Asked:
    """In the place of ``Driver.fired``: keeps what it was given."""

    def __init__(self) -> None:
        self.slots: Sequence[int] = ()

    def __call__(self, slots: Sequence[int]) -> Sequence[int]:
        self.slots = slots
        return ()


@pytest.fixture
def dsa() -> Iterator[Dsa]:
    with Dsa.open("mock:intel-dsa,map_slots=yes") as driver:
        yield driver


def asked(dsa: Dsa, vector: int) -> Sequence[int]:
    """What ``fired`` is given for an event of ``vector``."""
    dsa.ims.donors[vector].attached.event.signal()
    dsa.ims.hub.drain()
    return dsa.fired.slots  # type: ignore[attr-defined, no-any-return]


def test_single_changes_and_groups_are_all_seen_and_the_slots_ascend(dsa: Dsa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsa, "fired", Asked())
    chance, ims = random.Random(12), dsa.ims
    single: list[ImsInterrupt] = [ims.allocate()]
    with ims.allocate_group(40) as group:
        for _ in range(300):
            match chance.randrange(6):
                case 0:
                    single.append(ims.allocate(masked=chance.random() < 0.5))
                case 1 if len(single) > 1:
                    single.pop(chance.randrange(len(single))).close()
                case 2:
                    chance.choice(single).mask()
                case 3:
                    chance.choice(single).unmask()
                case 4:
                    ims.allocate_group(chance.randrange(1, 200)).close()
                case _:
                    slots = chance.sample(list(group.slots), 3)
                    ims.set_all_masked(slots, chance.random() < 0.5)
            vector = chance.choice(list(ims.donors))
            mine = [slot for slot in ims.allocated if ims.donor_of(slot).vector == vector]
            assert list(asked(dsa, vector)) == [slot for slot in mine if not ims.expected(slot).masked]


def test_the_same_slots_are_the_same_object(dsa: Dsa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsa, "fired", Asked())
    group = dsa.ims.allocate_group(64)
    before = asked(dsa, group[0].donor)
    dsa.ims.allocate().close()
    assert asked(dsa, group[0].donor) is before, "a driver may keep what it has made of it"
    kept = list(before)
    group[0].mask()
    assert group[0].slot not in asked(dsa, group[0].donor)
    assert list(before) == kept, "what a driver keeps is not changed under it"


def test_slots_are_given_out_again_lowest_first_whatever_was_closed(dsa: Dsa) -> None:
    ims = dsa.ims
    chance, free = random.Random(7), set(range(ims.table.size))
    held: list[tuple[object, Sequence[int]]] = []
    for _ in range(120):
        if held and chance.random() < 0.5:
            owner, slots = held.pop(chance.randrange(len(held)))
            owner.close()  # type: ignore[attr-defined]
            free.update(slots)
        elif chance.random() < 0.5:
            one = ims.allocate()
            assert one.slot == min(free)
            held.append((one, [one.slot]))
            free.discard(one.slot)
        else:
            group = ims.allocate_group(chance.randrange(1, 120))
            assert set(group.slots) <= free
            held.append((group, list(group.slots)))
            free.difference_update(group.slots)
        assert set(ims.allocated) == set(range(ims.table.size)) - free
    for owner, _ in held:
        owner.close()  # type: ignore[attr-defined]
    with ims.allocate_group(ims.table.size):
        pass


def test_a_slot_that_is_named_twice_is_given_back_once(dsa: Dsa) -> None:
    ims = dsa.ims
    one = ims.allocate()
    ims.release([one.slot, one.slot], "a test")
    with ims.allocate_group(ims.table.size) as group:
        assert len(group) == ims.table.size
        with pytest.raises(vfio_ims.VfioImsError, match="1 wanted, 0 of 2048 are free"):
            ims.allocate()
