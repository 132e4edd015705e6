# SPDX-License-Identifier: Apache-2.0
"""``ims_table``: found at any time, changes nothing, keeps what is written, no more and no less."""

from __future__ import annotations

import pytest

from vfio_ims.counted import counted
from vfio_ims.driver import Driver
from vfio_ims.errors import UsageError
from vfio_ims.ims.table import limits_at
from vfio_ims.messages import Message, Slot
from vfio_ims.testing.contract import breach, some, values


def test_the_table_is_found_before_the_device_is_started(idle: Driver) -> None:
    promise = "works before start"
    try:
        table = idle.ims_table()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the author's
        pytest.fail(breach(idle, "ims_table", promise, f"it raised {error!r}"))
    assert table.size > 0, breach(idle, "ims_table", promise, "its size is 0")
    assert idle.ims_table().size == table.size, breach(idle, "ims_table", promise, "the second time its size differs")


def test_finding_the_table_changes_nothing(idle: Driver) -> None:
    table = idle.ims_table()
    mark = Slot(table.limits.kept(Message(idle.device.dma.allocate(4).iova, 0x5A)), masked=table.has_mask)
    table.write_pattern(range(table.size), [mark])
    command = idle.device.config.read(4, 2)
    before = [table.read(slot) for slot in some(table.size)]
    idle.ims_table()
    promise = "may read the device, changes nothing"
    assert idle.device.config.read(4, 2) == command, breach(idle, "ims_table", promise, "the command register changed")
    after = [table.read(slot) for slot in some(table.size)]
    assert after == before, breach(idle, "ims_table", promise, "slots changed")


def test_the_table_keeps_what_is_written(idle: Driver) -> None:
    table = idle.ims_table()
    chosen = some(table.size)
    written = dict(zip(chosen, values(idle, table), strict=False))
    promise = "an entry reads back as it was written, each in its own place"
    for how in ("write", "write_many", "write_pattern"):
        cleared = table.limits.kept(Message(idle.device.dma.buffers[0].iova, 0))
        table.write_pattern(chosen, [Slot(cleared, masked=table.has_mask)])
        if how == "write":
            for slot, value in written.items():
                table.write(slot, value)
        elif how == "write_many":
            table.write_many(written.items())
        else:
            table.write_pattern(list(written), list(written.values()))
        for slot, value in written.items():
            found = f"after {how}, slot {slot} reads {table.read(slot)}, it was written as {value}"
            assert table.read(slot) == value, breach(idle, "ims_table", promise, found)


def test_the_limits_are_the_devices_own(idle: Driver) -> None:
    """A width that the device does not keep cuts donors' messages; a smaller one turns donors away for nothing."""
    table = idle.ims_table()
    slots = some(table.size)
    promise = "limits say which bits an entry keeps of a message, no more and no fewer"
    for word in (0xFFFF_FFFF, 0):
        message = Message((word << 32 | word) & ~3, word)
        try:
            table.write_pattern(slots, [Slot(message, masked=table.has_mask)])
        except UsageError:  # a table of its own kind may refuse what its limits exclude
            table.write_pattern(slots, [Slot(table.limits.kept(message), masked=table.has_mask)])
        for slot in slots:
            limits, found = limits_at(table, slot), table.read(slot).message
            kept = limits.kept(message)
            says = f"limits.data_bits={limits.data_bits} says {kept.data:#x}"
            says = f"of data {word:#x} slot {slot} keeps {found.data:#x}, and {says}"
            assert found.data == kept.data, breach(idle, "ims_table", promise, says)
            says = f"limits.address_mask={limits.address_mask:#x}, address_fixed={limits.address_fixed:#x} say"
            says = f"of address {message.address:#x} slot {slot} keeps {found.address:#x}, and {says} {kept.address:#x}"
            assert found.address == kept.address, breach(idle, "ims_table", promise, says)


def test_an_index_outside_the_table_is_refused(idle: Driver) -> None:
    table = idle.ims_table()
    value = Slot(table.limits.kept(Message(idle.device.dma.allocate(4).iova, 0)), masked=table.has_mask)
    for index in (-1, table.size):
        for name, use in (("read", lambda i: table.read(i)), ("write", lambda i: table.write(i, value))):
            try:
                use(index)
            except UsageError:
                continue
            found = f"{name}({index}) did, and the table has {counted(table.size, 'slot')}"
            pytest.fail(breach(idle, "ims_table", "an index outside raises UsageError", found))
