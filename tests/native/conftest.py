# SPDX-License-Identifier: Apache-2.0
"""Windows over memfds: a device's region as far as mapping goes."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from vfio_ims.native.window import MappedWindow, Piece

PAGE = mmap.PAGESIZE


@pytest.fixture
def memory() -> Iterator[int]:
    """Four pages of file."""
    fd = os.memfd_create("vfio-ims-test")
    os.ftruncate(fd, 4 * PAGE)
    yield fd
    os.close(fd)


@pytest.fixture
def window(memory: int) -> Iterator[MappedWindow]:
    """Four pages: 0 and 1 writable, 2 read-only, 3 not mapped."""
    pieces = [Piece(memory, 0, 0, 2 * PAGE), Piece(memory, 2 * PAGE, 2 * PAGE, PAGE, writable=False)]
    with MappedWindow(4 * PAGE, pieces, label="BAR 0") as made:
        yield made


@pytest.fixture
def held() -> Callable[[], tuple[int, int]]:
    """How many descriptors and mappings this process has."""

    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(Path("/proc/self/maps").read_text().splitlines())

    return count


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack
