# SPDX-License-Identifier: Apache-2.0
"""Whole tables: one compiled call against a C loop, and a group of slots against single register writes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import vfio_ims
from vfio_ims.driver import Driver
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

SLOTS = 2048


def test_a_prepared_table_is_written_at_a_c_loops_speed(race: Any, rival: Any) -> None:
    with ExitStack() as stack:
        memory = stack.enter_context(SharedMemory(SLOTS * 16))
        whole = Piece(memory.fileno(), 0, 0, memory.size, writable=True)
        window = stack.enter_context(MappedWindow(memory.size, [whole]))
        indices = array("I", range(SLOTS))
        words = array("I", [word for n in range(SLOTS) for word in (1, 0xFEE00318, 0, n, 0)])
        steps = ((12, 0), (0, 1), (4, 2), (8, 3), (12, 4))
        ffi, lib = rival.ffi, rival.lib
        raw_indices, raw_words = ffi.from_buffer("uint32_t[]", indices), ffi.from_buffer("uint32_t[]", words)
        race(
            f"write_table of {SLOTS} entries",
            lambda: window.write_table(0, 16, indices, steps, words),
            lambda: lib.rival_table(memory.address, raw_indices, SLOTS, raw_words),
            against="C loop on the same memory",
            at_most=1.3,
            missed="1.35 of gcc -O2's loop, 1.02 to 1.18 of -O3's: its places are constants, ours are not",
        )
        ffi.release(raw_indices)
        ffi.release(raw_words)


@pytest.fixture
def dsa() -> Iterator[Driver]:
    with vfio_ims.open_driver("mock:intel-dsa,map_slots=yes") as driver:
        yield driver


def test_a_group_is_programmed_ten_times_faster_than_by_single_writes(race: Any, dsa: Driver) -> None:
    from vfio_ims.messages import Slot

    domain, table = dsa.ims, dsa.ims.table
    layout = table.layout  # type: ignore[attr-defined]
    bar = dsa.device.bar(layout.bar)
    domain.allocate_group(8).close()  # the donors are attached now
    donors = sorted(domain.donors.values(), key=lambda donor: donor.vector)

    def singly() -> None:
        write, owners = bar.write32, {}
        for slot in range(SLOTS):
            donor = donors[slot % len(donors)]
            entry, message = layout.at(slot), donor.message
            write(entry + 12, layout.control_word(Slot(masked=True)))
            write(entry, message.address & 0xFFFF_FFFF)
            write(entry + 4, message.address >> 32)
            write(entry + 8, message.data)
            write(entry + 12, layout.control_word(Slot(message, masked=False)))
            bar.read32(entry + 12)
            owners[slot] = donor

    def forget() -> None:
        domain.release(domain.allocated, "the benchmark")  # giving back is not what is measured

    race(
        f"allocate, program, unmask {SLOTS} as one group",
        lambda: domain.allocate_group(SLOTS),
        singly,
        prepare=forget,
        against="single register writes",
        at_least_faster=10,
    )
