# SPDX-License-Identifier: Apache-2.0
"""Numbers that no window has: refused in words, before memory is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.native.conftest import PAGE
from vfio_ims.errors import UsageError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

SIZE = PAGE


@pytest.fixture
def window() -> Iterator[MappedWindow]:
    with SharedMemory(SIZE) as memory, MappedWindow(SIZE, [Piece(memory.fd, 0, 0, SIZE)]) as made:
        yield made


@pytest.mark.parametrize("count", [SIZE + 1, 1 << 45, 1 << 62, 1 << 64])
def test_more_registers_than_there_are(window: MappedWindow, count: int) -> None:
    with pytest.raises(UsageError, match=f"the range must lie within {SIZE:#x} bytes"):
        window.read_block(0, count, 1)


@pytest.mark.parametrize(("mask", "expected"), [(-1, 0), (1 << 64, 0), (0, -1)])
def test_what_is_polled_for_has_the_registers_bits(window: MappedWindow, mask: int, expected: int) -> None:
    with pytest.raises(UsageError, match="mask and expected must be numbers of 32 bits, not"):
        window.poll(0, 4, mask, expected, 0)
