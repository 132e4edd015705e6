# SPDX-License-Identifier: Apache-2.0
"""What the kernel's spaces map beside memory, and taking all of it back, over a kernel of our own."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.descriptors import Descriptors
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.errors import DeviceError, UnsupportedError, UsageError
from vfio_ims.names import open_port
from vfio_ims.native.memory import SharedMemory

BDF, OTHER = "0000:6a:01.0", "0000:6a:02.0"
PAGE = 4096

Open = Callable[..., Any]


@pytest.fixture
def opened(kernel: Any) -> Open:
    def open_one(bdf: str = BDF, **options: Any) -> Any:
        return open_kernel(bdf, sysfs=kernel.sys, dev=kernel.dev, **options)

    return open_one


@pytest.fixture(params=["type1", "iommufd"])
def interface(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    with SharedMemory(4 * PAGE) as made:
        yield made


@pytest.mark.parametrize("old", [False, True], ids=["5.12", "before 5.12"])
def test_all_is_unmapped_at_once(kernel: Any, opened: Open, interface: str, memory: SharedMemory, old: bool) -> None:
    kernel.add()
    if old:
        kernel.extensions = {3}
    with opened(iommu=interface) as port:
        port.space.map(0x10000, memory.address, PAGE)
        port.space.map(0x1_0000_0000, memory.address, 2 * PAGE)
        assert port.space.unmap_all() == 3 * PAGE
        assert not any(kernel.maps.values())
        assert port.space.unmap_all() == 0
        port.space.map(0x10000, memory.address, PAGE)
        assert port.space.unmap(0x10000, PAGE) == PAGE


def test_a_container_follows_the_mapping_of_a_bar(kernel: Any, opened: Open) -> None:
    peer = kernel.add(OTHER, group=13)
    kernel.add()
    with opened(iommu="type1") as port, opened(OTHER, iommu="type1") as other:
        other.write_region(0, PAGE, b"of the BAR")
        port.space.map_region(0x10000, other, 0, PAGE, PAGE, write=False)
        address, size, flags = kernel.maps["type1"][0x10000]
        assert (size, flags) == (PAGE, 1)
        with open("/proc/self/maps") as maps:
            assert any(int(line.split("-")[0], 16) == address and str(peer.node) in line for line in maps)
        assert port.space.unmap(0x10000, PAGE) == PAGE
        with open("/proc/self/maps") as maps:
            assert not any(str(peer.node) in line for line in maps)
        with pytest.raises(UsageError, match="cannot be mapped"):
            port.space.map_region(0x10000, other, 4, 0, PAGE)
        kernel.fail["IOMMU_MAP_DMA"] = deque([errno.EFAULT])
        with pytest.raises(DeviceError, match=f"memory decoding of {OTHER} is off"):
            port.space.map_region(0x10000, other, 0, 0, PAGE)
        with open("/proc/self/maps") as maps:
            assert not any(str(peer.node) in line for line in maps)


def test_an_iommufd_takes_a_bar_as_a_dma_buf(kernel: Any, opened: Open) -> None:
    kernel.add(OTHER, group=13, cdev=4)
    kernel.add()
    with opened(iommu="iommufd") as port, opened(OTHER, iommu="iommufd") as other:
        before = Descriptors()
        port.space.map_region(0x10000, other, 2, PAGE, PAGE)
        assert kernel.exported == [(OTHER, 2, PAGE, PAGE)]
        assert kernel.maps[port.space.id] == {0x10000: (0, PAGE, 7)}
        assert not before.left()
        assert port.space.unmap(0x10000, PAGE) == PAGE
        kernel.exports = False
        with pytest.raises(UnsupportedError, match="VFIO_DEVICE_FEATURE_DMA_BUF"):
            port.space.map_region(0x10000, other, 2, PAGE, PAGE)
        kernel.exports = True
        kernel.fail["IOAS_MAP_FILE"] = deque([errno.ENOTTY, errno.EINVAL, errno.EEXIST])
        with pytest.raises(UnsupportedError, match="maps no dma-bufs"):
            port.space.map_region(0x10000, other, 2, PAGE, PAGE)
        with pytest.raises(UsageError, match="one range"):
            port.space.map_file(0x10000, 0, 0, PAGE)
        with pytest.raises(OSError, match="mapped already"):
            port.space.map_file(0x10000, 0, 0, PAGE)
        assert not before.left()


def test_a_container_takes_no_dma_buf(kernel: Any, opened: Open) -> None:
    kernel.add()
    with opened(iommu="type1") as port, pytest.raises(UnsupportedError, match="iommu=iommufd"):
        port.space.map_file(0x10000, 0, 0, PAGE)


def test_a_peer_on_another_mount_is_refused(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    with (
        opened(iommu=interface) as port,
        closing(open_port("mock:minimal")) as other,
        pytest.raises(UsageError, match="on mount mock"),
    ):
        port.space.map_region(0x10000, other, 0, 0, PAGE)
