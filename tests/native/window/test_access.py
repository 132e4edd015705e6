# SPDX-License-Identifier: Apache-2.0
"""Single accesses: what each width reads and writes, and the offsets and values that are refused."""

from __future__ import annotations

import os

import pytest

from tests.native.conftest import PAGE
from tests.native.window.below import written
from vfio_ims.errors import UsageError
from vfio_ims.native.window import MappedWindow
from vfio_ims.ports.window import Window

WIDTHS = (8, 16, 32, 64)


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_register_is_stored_and_loaded_with_its_width(window: MappedWindow, memory: int, bits: int) -> None:
    value = 0xF1E2_D3C4_B5A6_9788 >> (64 - bits)
    getattr(window, f"write{bits}")(64, value)
    assert written(memory, 64, 8) == value.to_bytes(bits // 8, "little").ljust(8, b"\0")
    assert getattr(window, f"read{bits}")(64) == value


@pytest.mark.parametrize("bits", WIDTHS)
def test_all_ones_are_a_value_like_any_other(window: MappedWindow, bits: int) -> None:
    ones = (1 << bits) - 1
    with pytest.raises(UsageError):
        window.read64(3 * PAGE)
    getattr(window, f"write{bits}")(8, ones)
    assert getattr(window, f"read{bits}")(8) == ones


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("offset", [4 * PAGE, 4 * PAGE - 1, 1 << 63, (1 << 64) - 8])
def test_an_offset_outside_is_refused(window: MappedWindow, bits: int, offset: int) -> None:
    if offset == 4 * PAGE - 1 and bits == 8:
        offset += 1
    for access in (lambda: getattr(window, f"read{bits}")(offset), lambda: getattr(window, f"write{bits}")(offset, 0)):
        with pytest.raises(UsageError, match="must"):
            access()


@pytest.mark.parametrize("bits", WIDTHS[1:])
def test_an_offset_must_be_a_multiple_of_the_width(window: MappedWindow, bits: int) -> None:
    with pytest.raises(UsageError, match=f"BAR 0: read .* the offset must be a multiple of {bits // 8}"):
        getattr(window, f"read{bits}")(bits // 16)
    with pytest.raises(UsageError, match=f"multiple of {bits // 8}"):
        getattr(window, f"write{bits}")(1, 0)


@pytest.mark.parametrize("offset", [-4, 1 << 64, None, "0", 1.5])
def test_an_offset_is_a_number_that_an_address_can_be(window: MappedWindow, offset: object) -> None:
    with pytest.raises(UsageError):
        window.read32(offset)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        window.read64(offset)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        window.write32(offset, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("excess", [-1, None])
def test_a_value_that_does_not_fit_is_not_cut(window: MappedWindow, memory: int, bits: int, excess: int | None) -> None:
    value = 1 << bits if excess is None else excess
    with pytest.raises(UsageError, match=f"the value must be {bits} bits, not {value:#x}"):
        getattr(window, f"write{bits}")(0, value)
    assert written(memory, 0, 8) == bytes(8)


def test_a_read_only_page_is_read_and_not_written(window: MappedWindow, memory: int) -> None:
    os.pwrite(memory, b"\x11\x22\x33\x44", 2 * PAGE)
    assert window.read32(2 * PAGE) == 0x4433_2211
    with pytest.raises(UsageError, match="no mapping allows it"):
        window.write32(2 * PAGE, 0)


def test_it_says_what_is_mapped(window: MappedWindow) -> None:
    assert isinstance(window.size, int)
    assert window.mapped(0, 3 * PAGE)
    assert not window.mapped(3 * PAGE - 1, 2)
    assert not window.mapped(0, 5 * PAGE)


def test_it_satisfies_the_port(window: MappedWindow) -> None:
    port: Window = window
    assert port.size == 4 * PAGE
