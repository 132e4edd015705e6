# SPDX-License-Identifier: Apache-2.0
"""Hosts with pages of 16 and 64 KiB: on this machine a platform that maps nothing smaller, in guests real kernels
(tests/vm/test_arm64_pages.py)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import vfio_ims
from vfio_ims.backends.kernel.access import pieces_of
from vfio_ims.errors import UsageError
from vfio_ims.ports.values import Area, RegionFlags, RegionInfo
from vfio_ims.selftest import Options, run

PAGES = {"16k": 16 << 10, "64k": 64 << 10}
MODELS = ("minimal", "intel-dsa,slots=256", "synopsys-edma")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("page", PAGES)
def test_the_self_test_passes(page: str, model: str) -> None:
    with vfio_ims.open_driver(f"mock:{model},platform=its-smmu,page={page}") as driver:
        report = run(driver, options=Options(timeout=10))
        assert report.passed, report
        sizes = {(buffer.iova % PAGES[page], buffer.mapped % PAGES[page]) for buffer in driver.device.dma.buffers}
        assert sizes == {(0, 0)}


@pytest.mark.parametrize("page", PAGES)
def test_memory_of_smaller_pages_is_refused_with_the_host_s(page: str) -> None:
    with vfio_ims.open(f"mock:minimal,page={page}") as device:
        buffer = device.dma.allocate(1)
        assert (buffer.size, buffer.mapped) == (1, PAGES[page])
        with pytest.raises(UsageError, match=f"multiples of the page, {PAGES[page]:#x}"):
            device.dma.map(bytearray(4096), write=True)
        with pytest.raises(UsageError, match="must be a multiple of"):
            device.dma.allocate(1, iova=PAGES[page] * 4 + 4096)


@pytest.mark.parametrize("page", PAGES.values())
def test_a_small_bar_that_begins_no_page_is_said_to_be_the_reason(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As vfio-pci has it: of such a BAR nothing is mapped, and without the MSI-X table there is no message to copy."""
    monkeypatch.setattr("vfio_ims.device.msix_table.mmap", SimpleNamespace(PAGESIZE=page))
    with vfio_ims.open_driver("mock:synopsys-edma,mappable=no,map_memory=no") as driver:
        small = driver.device.bar(4).size < page
        assert driver.verdict.usable is False
        link = str(driver.verdict.link("MSI-X table mappable"))
    if small:
        assert "no, BAR 4 has 0x4000 bytes, less than a page of this machine (0x10000), and does not begin one" in link
        assert "what helps: boot with pci=resource_alignment=mock:synopsys-edma" in link
    else:
        assert "Linux 4.16" in link


@pytest.mark.parametrize("page", PAGES.values())
def test_slots_within_a_page_are_not_offered_for_mapping(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfio_ims.models.slot_store.mmap", SimpleNamespace(PAGESIZE=page))
    with pytest.raises(UsageError, match=f"begins at 0x1000, within a page of this machine \\({page:#x}\\)"):
        vfio_ims.open("mock:minimal,map_slots=yes")


def test_areas_of_a_server_with_smaller_pages_are_reached_by_message() -> None:
    """Pages of 4 KiB beside the registers: on a host of 64 KiB none can be mapped, and all answers."""
    with vfio_ims.open("mock:intel-dsa,map_slots=yes") as device:
        areas = device.port.region_info(0).areas
        assert areas
        assert device.bar(0).mapped(areas[0].offset, 4)
    with vfio_ims.open_driver("mock:minimal,map_slots=yes,page=64k") as driver:
        assert not driver.device.bar(0).mapped(0x1000, 4)
        assert driver.device.port.region_info(0).areas[0].offset == 0x1000
        with driver.ims.allocate() as irq:
            driver.fire(irq.slot)
            assert irq.wait(10)


@pytest.mark.parametrize("page", PAGES.values())
def test_the_kernel_s_areas_are_mapped_in_whole_pages(page: int) -> None:
    """A BAR of less than a page that begins one; one whose first page has the MSI-X table among its registers."""
    flags = RegionFlags.READ | RegionFlags.WRITE | RegionFlags.MMAP
    small = RegionInfo(0, flags, 0x4000, 0, (Area(0, 0x4000),), True)
    (piece,) = pieces_of(small, 3, (0x2000, 0x2040), page)
    assert (piece.offset, piece.size) == (0, max(page, 0x4000))
    assert piece.writable is (page > 0x2000), "a page that is all there is can be written, but for the guarded bytes"
    large = RegionInfo(0, flags, 0x40000, 0, (Area(0, 0x40000),), True)
    pieces = pieces_of(large, 3, (0x2000, 0x2090), page)
    assert [(one.offset, one.size, one.writable) for one in pieces] == [
        (0, page, False), (page, 0x40000 - page, True)
    ]  # fmt: skip
