# SPDX-License-Identifier: Apache-2.0
"""DMA_MAP and DMA_UNMAP: windows that are refused, and that are not (test_dma_map, test_dma_unmap of libvfio-user)."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from tests.vfio_user.malformed.answers import INVALID, alive
from vfio_ims.vfio_user.messages import DMA_MAP, DMA_UNMAP
from vfio_ims.vfio_user.wire import MAX_TRANSFER, Command


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        pytest.param(bytes(8), INVALID, id="short_write"),
        pytest.param(DMA_MAP.pack(31, 3, 0, 0, 4096), INVALID, id="bad_argsz"),
        pytest.param(DMA_MAP.pack(32, 3, 0, 0x10000, (8 << 40) + 4096), errno.ENOSPC, id="region_too_big"),
        pytest.param(DMA_MAP.pack(32, 0x13, 0, 0, 4096), INVALID, id="bad_flags"),
        pytest.param(DMA_MAP.pack(32, 7, 0, 0, 4096), INVALID, id="mmap_without_descriptor"),
        pytest.param(DMA_MAP.pack(32, 3, 0, 0, 0), INVALID, id="no_size"),
        pytest.param(DMA_MAP.pack(32, 3, 0, (1 << 64) - 4096, 8192), INVALID, id="past_the_end"),
    ],
)
def test_dma_map_refuses(raw, payload, error):
    assert raw.ask(Command.DMA_MAP, payload)[0] == error
    alive(raw)


def test_dma_map_over_an_existing_region(raw):
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0x1000, 0x2000)) == (0, b"")
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0x2000, 0x2000))[0] == errno.EEXIST


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        pytest.param(bytes(8), INVALID, id="short_write"),
        pytest.param(DMA_UNMAP.pack(8, 0, 4096, 4096), INVALID, id="bad_argsz"),
        pytest.param(DMA_UNMAP.pack(MAX_TRANSFER + 8, 0, 4096, 4096), INVALID, id="bad_argsz2"),
        pytest.param(
            DMA_UNMAP.pack(40, 1, 4096, 4096) + struct.pack("QQ", 4096, 2**64 - 32), INVALID, id="dirty_bad_argsz"
        ),
        pytest.param(DMA_UNMAP.pack(48, 1, 0, 4096) + struct.pack("QQQ", 4096, 8, 0), INVALID, id="dirty_not_tracking"),
        pytest.param(DMA_UNMAP.pack(24, 4, 4096, 4096), INVALID, id="invalid_flags"),
        pytest.param(DMA_UNMAP.pack(24, 0, 0x10000, 4096), errno.ENOENT, id="invalid_addr"),
        pytest.param(DMA_UNMAP.pack(24, 0, 0, 2048), errno.ENOENT, id="cuts_a_region"),
        pytest.param(DMA_UNMAP.pack(24, 2, 0x10000, 4096), INVALID, id="all_invalid_addr"),
        pytest.param(DMA_UNMAP.pack(24, 3, 0, 0), INVALID, id="all_invalid_flags"),
    ],
)
def test_dma_unmap_refuses(raw, payload, error):
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0, 4096))[0] == 0
    assert raw.ask(Command.DMA_UNMAP, payload)[0] == error
    alive(raw)


def test_dma_unmap(raw):
    raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0, 4096))
    request = DMA_UNMAP.pack(24, 0, 0, 4096)
    assert raw.ask(Command.DMA_UNMAP, request) == (0, request)
    assert raw.ask(Command.DMA_UNMAP, request)[0] == errno.ENOENT


def test_dma_unmap_all(raw):
    for page in range(64):
        assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, page << 13, 4096))[0] == 0
    assert raw.ask(Command.DMA_UNMAP, DMA_UNMAP.pack(24, 2, 0, 0))[0] == 0
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0, 1 << 20))[0] == 0


def test_a_window_beyond_the_end_of_its_file(raw, fds):
    fd = os.memfd_create("small")
    os.ftruncate(fd, 4096)
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0, 8192), fds=(fd,))[0] == INVALID
    os.close(fd)
    assert not fds.left()
