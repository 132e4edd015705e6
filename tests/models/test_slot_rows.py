# SPDX-License-Identifier: Apache-2.0
"""Rows that are written at once leave what the same words leave that are written one by one."""

from __future__ import annotations

import random
from array import array

import pytest

from vfio_ims.messages import MessageLimits
from vfio_ims.models import SlotStore
from vfio_ims.registers import SlotLayout

LAYOUTS = {
    "as DSA's": SlotLayout(bar=0, offset=0, count=8, ignore=2, pasid_enable=3),
    "few address bits": SlotLayout(
        bar=0, offset=0, count=8, limits=MessageLimits(address_mask=0xFFFFC, address_fixed=0xFEE00000)
    ),
    "16 bits of data": SlotLayout(bar=0, offset=0, count=8, limits=MessageLimits(data_bits=16)),
    "wider entries": SlotLayout(bar=0, offset=0, count=8, stride=32),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("rows", [[3], [0], [7], [2, 3, 4], [5, 1], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_rows_at_once(layout: SlotLayout, rows: list[int]) -> None:
    chance = random.Random(len(rows))
    steps = ((12, 0), (0, 1), (4, 2), (8, 3), (12, 4))
    once, singly = (SlotStore(layout, lambda address, data: None) for _ in range(2))
    for _ in range(3):
        words = array("I", [chance.getrandbits(32) for _ in range(5 * len(rows))])
        assert once.store_rows(rows, steps, memoryview(words))
        for number, row in enumerate(rows):
            for at, source in steps:
                singly.store(row * layout.stride + at, words[5 * number + source].to_bytes(4, "little"))
        assert bytes(once.memory) == bytes(singly.memory)


@pytest.mark.parametrize(("row", "steps"), [(8, ((0, 0),)), (-1, ((0, 0),)), (0, ((16, 0),)), (0, ((2, 0),))])
def test_a_row_or_step_outside_is_left_to_others(row: int, steps: tuple[tuple[int, int], ...]) -> None:
    store = SlotStore(LAYOUTS["as DSA's"], lambda address, data: None)
    before = bytes(store.memory)
    for _ in range(2):
        assert not store.store_rows([row], steps, memoryview(array("I", [1])))
    assert bytes(store.memory) == before
