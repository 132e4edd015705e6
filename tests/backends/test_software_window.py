# SPDX-License-Identifier: Apache-2.0
"""Windows over a model: one access a call, the MSI-X table as a mapping would show it, and refusals in words."""

from __future__ import annotations

import array
import errno
import os
import time

import pytest

from vfio_ims.errors import ClosedError, DeviceError, UsageError
from vfio_ims.platform import Platform
from vfio_ims.ports.values import IrqIndex, IrqSet

ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
TABLE, PBA, CONFIG = 0x2000, 0x3000, 7


@pytest.fixture
def model(little):
    return little()


@pytest.fixture
def device(open_little, platform, model):
    return open_little(platform, model=model)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_each_call_is_one_access_of_its_width(device, model, width) -> None:
    window = device.window(0)
    model.accesses.clear()
    value = int.from_bytes(bytes(range(0x11, 0x11 + width)), "little")
    getattr(window, f"write{8 * width}")(0x40, value)
    assert getattr(window, f"read{8 * width}")(0x40) == value
    assert model.accesses == [("w", 0, 0x40, width), ("r", 0, 0x40, width)]


def test_blocks_are_registers_in_ascending_order(device, model) -> None:
    window = device.window(0)
    model.accesses.clear()
    window.write_block(0x40, bytes(range(16)), width=8)
    assert window.read_block(0x40, 4) == bytes(range(16))
    assert model.accesses == [("w", 0, 0x40, 8), ("w", 0, 0x48, 8), *[("r", 0, 0x40 + 4 * i, 4) for i in range(4)]]
    window.write_block(0x40, array.array("I", [1, 2]))
    assert window.read_block(0x40, 0) == b""
    window.write_block(0x40, b"")


def test_one_word_of_each_row_is_read(device, model) -> None:
    window = device.window(0)
    window.write_block(0x40, array.array("I", range(12)))
    model.accesses.clear()
    assert array.array("I", window.read_table(0x44, 16, array.array("I", [2, 0]))).tolist() == [9, 1]
    assert model.accesses == [("r", 0, 0x64, 4), ("r", 0, 0x44, 4)]
    assert window.read_table(0x44, 16, array.array("I")) == b""
    for offset, row in ((0x42, 0), (0, 1 << 20)):
        with pytest.raises(UsageError):
            window.read_table(offset, 16, array.array("I", [row]))


def test_a_table_is_written_row_by_row_and_step_by_step(device, model) -> None:
    window = device.window(0)
    model.accesses.clear()
    words = array.array("I", [10, 11, 12, 20, 21, 22])
    window.write_table(0x1000, 16, array.array("I", [3, 1]), [(12, 0), (0, 1), (4, 2), (12, 2)], words)
    places = [offset for _, _, offset, _ in model.accesses]
    assert places == [0x103C, 0x1030, 0x1034, 0x103C, 0x101C, 0x1010, 0x1014, 0x101C]
    assert window.read32(0x103C) == 12
    assert window.read32(0x1010) == 21
    window.write_table(0x1000, 16, array.array("I"), [(0, 0)], array.array("I"))


@pytest.mark.parametrize(
    "arguments",
    [
        (0x1000, 16, [0], [(0, 1)], [1]),  # no such source
        (0x1000, 16, [0, 1], [(0, 0)], [1, 2, 3]),  # words do not divide
        (0x3FF0, 16, [1], [(0, 0)], [1]),  # past the end
        (0x1002, 16, [0], [(0, 0)], [1]),  # misaligned
    ],
)
def test_a_bad_table_writes_nothing(device, model, arguments) -> None:
    offset, stride, rows, steps, words = arguments
    model.accesses.clear()
    with pytest.raises(UsageError):
        device.window(0).write_table(offset, stride, array.array("I", rows), steps, array.array("I", words))
    assert model.accesses == []


def test_poll_returns_the_last_value(device, model) -> None:
    window = device.window(0)
    model.memory[0x80] = 0x12
    assert window.poll(0x80, 4, 0xF0, 0x10, 1.0) == 0x12
    started = time.monotonic()
    assert window.poll(0x80, 4, 0xF0, 0x20, 0.02) == 0x12
    assert 0.015 < time.monotonic() - started < 10


def test_a_portal_takes_64_bytes_as_one_write(device, model) -> None:
    portal = device.window(2)
    portal.store64(0x40, bytes(range(64)))
    assert portal.enqueue64(0x80, bytes(64)) is True
    assert model.portal[1:] == [bytes(range(64)), bytes(64)]
    for offset, size in ((0x20, 64), (0x40, 63), (0x1000, 64)):
        with pytest.raises(UsageError, match="multiple of 64"):
            portal.store64(offset, bytes(size))


def test_a_model_may_answer_retry(device, model) -> None:
    model.enqueue = lambda region, offset, data: False
    assert device.window(2).enqueue64(0, bytes(64)) is False


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("read32", (0x4000,)),
        ("read32", (2,)),
        ("read8", (-1,)),
        ("write64", (0x3FFC, 0)),
        ("write32", (0x3FFE, 1)),
        ("write8", (0x40, 256)),
        ("write32", (0x40, -1)),
        ("read_block", (0x3FFC, 2)),
        ("read_block", (0, 1, 3)),
    ],
)
def test_bad_accesses_are_usage_errors_that_name_the_device(device, call, arguments) -> None:
    with pytest.raises(UsageError, match="little region 0"):
        getattr(device.window(0), call)(*arguments)


# --- the MSI-X table --------------------------------------------------------------------------------------------------


def test_a_window_shows_messages_and_a_region_read_shows_ones(device, eventfd) -> None:
    window = device.window(0)
    assert window.read_block(TABLE, 4) == bytes(12) + b"\1\0\0\0"
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    assert window.read32(TABLE) >> 20 == 0xFEE
    assert window.read32(TABLE + 12) == 0
    assert device.read_region(0, TABLE, 16) == b"\xff" * 16
    assert device.read_region(0, TABLE - 4, 8) == bytes(4) + b"\xff" * 4
    device.write_region(0, TABLE, bytes(16))
    assert window.read64(TABLE) >> 20 == 0xFEE
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [-1])
    assert window.read_block(TABLE, 4) == bytes(12) + b"\1\0\0\0"


def test_an_old_kernel_shows_no_table(open_little, eventfd) -> None:
    device = open_little(Platform(msix_mappable=False))
    assert not device.region_info(0).msix_mappable
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    assert device.window(0).read32(TABLE) == 0xFFFFFFFF


def test_the_guard_refuses_to_write_the_table(device, eventfd) -> None:
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    window = device.window(0, guard=(TABLE, TABLE + 0x80))
    before = window.read_block(TABLE, 4)
    row = array.array("I", [0])
    for call in (
        lambda: window.write32(TABLE, 0),
        lambda: window.write_block(TABLE - 4, bytes(8)),
        lambda: window.write_table(TABLE, 16, row, [(0, 0)], row),
        lambda: window.store64(TABLE + 0x40, bytes(64)),
    ):
        with pytest.raises(UsageError, match="MSI-X table"):
            call()
    assert window.read_block(TABLE, 4) == before
    window.write32(TABLE - 4, 1)
    window.write32(TABLE + 0x80, 1)


def test_without_guard_the_table_takes_a_write_as_hardware_does(device, eventfd) -> None:
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    device.write_region(CONFIG, 4, b"\6\0")
    window = device.window(0)
    window.write32(TABLE + 12, 1)
    window.write32(0x04, 0)
    assert window.read64(PBA) == 1
    assert device.read_region(0, PBA, 8) == b"\1" + bytes(7)
    window.write64(PBA, 0)
    assert window.read64(PBA) == 1
    window.write32(TABLE + 12, 0)
    assert os.eventfd_read(eventfd) == 1
    assert window.read64(PBA) == 0


def test_the_device_never_sees_accesses_to_the_table(device, model) -> None:
    window = device.window(0)
    model.accesses.clear()
    window.read_block(TABLE, 8)
    window.write32(TABLE, 0)
    device.read_region(0, TABLE, 8)
    assert model.accesses == []


# --- shared memory ----------------------------------------------------------------------------------------------------


def test_a_shared_area_is_mapped_and_the_rest_trapped(open_little, platform, little) -> None:
    model = little(shared=True)
    device = open_little(platform, model=model)
    window = device.window(0, guard=(TABLE, TABLE + 0x80))
    assert window.mapped(0x1000, 0x1000)
    assert not window.mapped(0, 4)
    model.accesses.clear()
    window.write32(0x1010, 0xCAFE)
    assert os.pread(model.fd, 4, 0x1010) == b"\xfe\xca\0\0"
    assert model.accesses == []
    window.write32(0x40, 7)
    assert model.accesses == [("w", 0, 0x40, 4)]
    with pytest.raises(UsageError):
        window.write32(TABLE, 0)
    assert window.read32(TABLE + 12) == 1


# --- states -----------------------------------------------------------------------------------------------------------


def test_memory_decode_off(device) -> None:
    window = device.window(0)
    device.write_region(CONFIG, 4, b"\0\0")
    for call in (
        lambda: window.read32(0),
        lambda: window.write32(0x40, 1),
        lambda: window.write_block(0x40, bytes(8)),
        lambda: device.window(0).read32(0),
        lambda: device.read_region(0, 0, 4),
        lambda: device.write_region(0, 0x40, b"1234"),
    ):
        with pytest.raises(DeviceError, match="command register") as caught:
            call()
        assert caught.value.errno == errno.EIO
    assert device.read_region(CONFIG, 0, 2) == b"\x34\x12"
    device.write_region(CONFIG, 4, b"\2\0")
    assert window.read32(0) == int.from_bytes(b"SMIT", "little")


def test_a_closed_window_says_who_closed_it(device) -> None:
    window, other = device.window(0), device.window(0)
    window.close()
    window.close()
    with pytest.raises(ClosedError, match="test_software_window"):
        window.read32(0)
    with pytest.raises(ClosedError):
        window.write_block(0x40, bytes(8))
    with pytest.raises(ClosedError):
        window.store64(0x40, bytes(64))
    other.read32(0)
    device.close()
    with pytest.raises(ClosedError):
        other.write32(0x40, 1)
    with pytest.raises(ClosedError):
        other.read32(TABLE)


def test_windows_are_of_bars_only(device) -> None:
    for region in (1, 6, CONFIG):
        with pytest.raises(UsageError):
            device.window(region)
