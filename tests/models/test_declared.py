# SPDX-License-Identifier: Apache-2.0
"""Mistakes in a model's declaration get words when it is made, not a riddle when it is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vfio_ims.drivers.minimal.registers import SLOTS, Bar0
from vfio_ims.errors import UsageError
from vfio_ims.models import DeviceModel, ModelBar, on_read, on_write
from vfio_ims.registers import Block, Register, Repeat


class Queue(Block):
    TAIL = Register(0x00)
    DEPTH = Register(0x04)


class Queues(Block):
    CONTROL = Register(0x00)
    QUEUE = Repeat(Queue, 0x100, count=4, stride=0x40)


def made(**declared: Any) -> DeviceModel:
    kind = type("Acme", (DeviceModel,), {"id": "1234:0009", "bars": {0: ModelBar(0x1000, Queues)}, **declared})
    return kind()


@pytest.mark.parametrize(
    ("mark", "hook", "says"),
    [
        (on_write(Queue.TAIL), lambda self, value: None, "a register of a repeated block: .*(row, value)"),
        (on_write(Queues.CONTROL), lambda self: None, "a register that stands alone: .*(value)"),
        (on_read(Queue.DEPTH), lambda self: None, "a register of a repeated block: .*(row)"),
        (on_read(Queues.CONTROL), lambda self, value: None, "a register that stands alone: .*()"),
    ],
)
def test_a_hook_that_cannot_be_called_is_named(mark: Any, hook: Any, says: str) -> None:
    hook.__name__ = "ring"
    with pytest.raises(UsageError, match=rf"make the model Acme: ring\(.*\), line \d+, follows {says}"):
        made(ring=mark(hook))


def test_hooks_of_either_kind_are_taken() -> None:
    rang: list[tuple[int, ...]] = []
    model = made(
        tail=on_write(Queue.TAIL)(lambda self, row, value: rang.append((row, value))),
        control=on_write(Queues.CONTROL)(lambda self, value: rang.append((value,))),
        depth=on_read(Queue.DEPTH)(lambda self, row: rang.append((row,))),
    )
    model.write(0, 0x140, (7).to_bytes(4, "little"))
    model.write(0, 0, (8).to_bytes(4, "little"))
    model.act()
    model.read(0, 0x184, 4)
    assert rang == [(1, 7), (8,), (2,)]


@pytest.mark.parametrize(
    ("bars", "why"),
    [
        ({2: ModelBar(0x4000, slots=SLOTS)}, r"0x1000 is declared for BAR 0, and stands in bars\[2\]"),
        ({0: ModelBar(0x1000, slots=SLOTS)}, "ends at 0x1100, and BAR 0 has 0x1000 bytes"),
        ({0: ModelBar(0x4000, Bar0, slots=replace(SLOTS, offset=0))}, "its register ID at 0x0 overlap"),
        (
            {0: ModelBar(0x4000, Queues, slots=replace(SLOTS, offset=0x1C0))},
            r"register QUEUE\[3\].TAIL at 0x1c0 overlap",
        ),
    ],
)
def test_a_table_where_it_cannot_be(bars: dict[int, ModelBar], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        made(bars=bars)


def test_a_register_of_another_block_is_not_set_in_its_place() -> None:
    model = made()
    with pytest.raises(UsageError, match=r"no such register at 0x0 here\n.*registers\(\).row"):
        model.registers().set(Queue.TAIL, 5)
    with pytest.raises(UsageError, match="no such register at 0x4 here"):
        model.registers().get(Queue.DEPTH)
    model.registers().row(Queues.QUEUE, 3).set(Queue.DEPTH, 9)
    assert model.read(0, 0x1C4, 4)[0] == 9
