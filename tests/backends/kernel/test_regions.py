# SPDX-License-Identifier: Apache-2.0
"""Regions: what is mapped, what is read and written through the kernel, and the MSI-X table's page."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from tests.backends.kernel.conftest import Open
from tests.backends.kernel.fake_kernel import SHIFT
from vfio_ims.errors import UnsupportedError, UsageError


def test_config_space_and_bars_without_mapping_are_read_through_the_kernel(kernel: Any, opened: Open) -> None:
    function = kernel.add()
    with opened() as port:
        port.write_region(7, 4, b"\x06\x00")
        assert port.read_region(7, 4, 2) == b"\x06\x00"
        window = port.window(4)
        assert not window.mapped(0, 4)
        window.write32(8, 0x1234_5678)
        window.write64(16, 1 << 63)
        assert window.read8(8) == 0x78
        assert window.poll(8, 2, 0xFF, 0x78, 1) == 0x5678
        assert window.poll(8, 2, 0xFF, 0, 0.01) == 0x5678
        window.store64(64, bytes(range(64)), pieces=True)
        assert window.read_block(64, 8, 8) == bytes(range(64))
        with pytest.raises(UnsupportedError):
            window.store64(64, bytes(64))
        for bad in (
            lambda: port.read_region(7, 0xFFF, 2),
            lambda: port.read_region(7, -1, 2),
            lambda: port.write_region(4, 0x100, b"\0"),
            lambda: window.read32(0x100),
        ):
            with pytest.raises(UsageError):
                bad()
        written = function.node.open("rb")
        written.seek((4 << SHIFT) + 8)
        assert written.read(4) == b"\x78\x56\x34\x12"
        written.close()


def test_the_msix_page_is_mapped_read_only_and_its_table_refused(kernel: Any, opened: Open) -> None:
    kernel.add()
    with opened() as port:
        window = port.window(0, guard=(0x2000, 0x2000 + 9 * 16))
        assert window.mapped(0, 0x10000), "a donor's message is read through the mapping"
        window.write32(0x1FFC, 1)
        window.write32(0x3000, 2)
        window.write32(0x2100, 3)
        assert window.read_block(0x1FFC, 1) + window.read_block(0x3000, 1) == struct.pack("<II", 1, 2)
        assert window.read32(0x2100) == 3, "the rest of the table's page is written through the kernel"
        for offset in (0x2000, 0x208C):
            with pytest.raises(UsageError, match="MSI-X table"):
                window.write32(offset, 0)
        maps = [line.split()[1] for line in Path("/proc/self/maps").read_text().splitlines() if "vfio3" in line]
        assert sorted(maps) == ["r--s", "rw-s", "rw-s"]


def test_without_the_capability_the_msix_page_is_not_mapped(kernel: Any, opened: Open) -> None:
    kernel.add().msix_mappable = False
    with opened() as port:
        window = port.window(0, guard=(0x2000, 0x2090))
        assert window.mapped(0, 0x2000)
        assert not window.mapped(0x2000, 4)
        assert window.mapped(0x3000, 0xD000)


def test_sparse_areas_and_what_lies_between(kernel: Any, opened: Open) -> None:
    kernel.add().sparse[0] = [(0x8000, 0x8000), (0, 0x2000), (0x4800, 0x1000)]
    with opened() as port:
        window = port.window(0)
        assert window.mapped(0, 0x2000)
        assert window.mapped(0x8000, 0x8000)
        assert not window.mapped(0x2000, 4)
        assert not window.mapped(0x4800, 4), "less than a page cannot be mapped"
        window.write32(0x2000, 9)
        assert window.read32(0x2000) == 9
