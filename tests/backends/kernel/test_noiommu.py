# SPDX-License-Identifier: Apache-2.0
"""Opening without an IOMMU, over a kernel of our own: only by name, with a warning, memory by physical address."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from tests.backends.kernel.conftest import descriptors
from vfio_ims.backends.kernel import noiommu
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.device import Device
from vfio_ims.errors import AccessDenied, DeviceBusy, NoIommuWarning, SetupError, UsageError
from vfio_ims.native.memory import SharedMemory

BDF, OTHER = "0000:6a:01.0", "0000:6a:02.0"
PAGE, HUGE = 4096, 2 << 20


@pytest.fixture
def bare(kernel: Any) -> Any:
    """A function in VFIO's mode without an IOMMU, by group; frames of its memory from 0x40000 on."""
    kernel.add(cdev=None)
    kernel.extensions = {8}
    (kernel.sys / "kernel/iommu_groups/12/name").write_text("vfio-noiommu\n")
    (kernel.dev / "vfio/12").rename(kernel.dev / "vfio/noiommu-12")
    return kernel


@pytest.fixture
def with_node(bare: Any) -> Any:
    """The same on a kernel that has a node for it."""
    folder = bare.sys / "bus/pci/devices" / BDF / "vfio-dev/noiommu-vfio3"
    folder.mkdir(parents=True)
    node = bare.dev / "vfio/devices/noiommu-vfio3"
    bare.functions[BDF].node.rename(node)
    bare.functions[BDF].node = node
    return bare


def opened(kernel: Any, bdf: str = BDF, **options: Any) -> Any:
    with pytest.warns(NoIommuWarning, match=f"{bdf} is opened without an IOMMU"):
        return open_kernel(bdf, iommu="none", sysfs=kernel.sys, dev=kernel.dev, **options)


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    with SharedMemory(4 * PAGE) as made:
        yield made


def test_the_group_and_its_container(bare: Any) -> None:
    with opened(bare) as port:
        assert port.mount == "group"
        assert not port.space.translates
        assert bare.kinds == [8]
    assert descriptors(bare.dev) == []


@pytest.mark.parametrize("way", ["auto", "type1", "iommufd"])
def test_never_unless_it_is_named(with_node: Any, way: str) -> None:
    with pytest.raises(SetupError, match="never used unless it is named"):
        open_kernel(BDF, iommu=way, sysfs=with_node.sys, dev=with_node.dev)
    assert descriptors(with_node.dev) == []


def test_a_warning_made_an_error_opens_nothing(bare: Any) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", NoIommuWarning)
        with pytest.raises(NoIommuWarning):
            open_kernel(BDF, iommu="none", sysfs=bare.sys, dev=bare.dev)
    assert descriptors(bare.dev) == []
    assert "GROUP_SET_CONTAINER" not in bare.asked


def test_a_group_takes_contiguous_hugepages_only(
    bare: Any, memory: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, huge = [0x40000, 0x40001, 0x40002, 0x40003], True
    monkeypatch.setattr(noiommu, "frames", lambda address, size: found[: size // PAGE])
    monkeypatch.setattr(noiommu, "is_hugepage", lambda frame: huge)
    with opened(bare) as port:
        space = port.space
        assert space.contiguous(1) == HUGE
        assert space.pin(memory.address, 4 * PAGE) == 0x4000_0000
        with pytest.raises(DeviceBusy, match="has a buffer already"):
            space.pin(memory.address, 4 * PAGE)
        assert space.unmap(0x4000_0000, 4 * PAGE) == 4 * PAGE
        found[2] = 0x50000
        with pytest.raises(SetupError, match="of 0x4000 bytes only the first 0x2000 are contiguous"):
            space.pin(memory.address, 4 * PAGE)
        huge = False
        with pytest.raises(UsageError, match="not made of hugepages"):
            space.pin(memory.address, PAGE)
        with pytest.raises(UsageError, match="cannot be chosen"):
            space.map(0x10000, memory.address, PAGE)
        assert space.unmap_all() == 0
    assert "IOMMU_MAP_DMA" not in bare.asked


def test_addresses_that_may_not_be_seen(bare: Any, memory: SharedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    for code, kind in ((errno.EPERM, AccessDenied), (errno.ENOENT, SetupError)):

        def hidden(address: int, size: int, code: int = code) -> list[int]:
            raise OSError(code, "")

        monkeypatch.setattr(noiommu, "frames", hidden)
        with opened(bare) as port, pytest.raises(kind, match="physical addresses"):
            port.space.pin(memory.address, PAGE)


def test_a_functions_own_node_pins_and_looks_up(with_node: Any) -> None:
    with Device(opened(with_node)) as device:
        assert device.mount == "cdev"
        port = device.port
        buffer = device.dma.allocate(100)
        table = with_node.maps[port.space.id]
        assert [size for _, size, _ in table.values()] == [PAGE]
        assert buffer.iova == with_node.physical + next(iter(table))
        with pytest.raises(UsageError, match="leave iova= out"):
            device.dma.allocate(100, iova=0x10000)
        with pytest.raises(UsageError, match="no multiple of"):
            device.dma.allocate(100, align=1 << 40)
        buffer.close()
        assert table == {}
        buffers = [device.dma.allocate(100), device.dma.allocate(100)]
        assert device.dma.unmap_all() == 2 * PAGE
        assert all(one.closed for one in buffers)
        assert table == {}
        with_node.contiguous = PAGE // 2
        with pytest.raises(SetupError, match="only the first 0x800"):
            device.dma.allocate(100)
        assert table == {}
        with_node.fail["IOAS_NOIOMMU_GET_PA"] = deque([errno.EPERM])
        with pytest.raises(AccessDenied, match="physical addresses"):
            device.dma.allocate(100)
        assert table == {}
        assert device.dma.buffers == ()
    assert descriptors(with_node.dev) == []


@pytest.mark.parametrize("request_", ["SET_IOMMU", "GROUP_GET_DEVICE_FD"])
def test_without_the_privilege(bare: Any, request_: str) -> None:
    bare.fail[request_] = deque([errno.EPERM])
    with pytest.warns(NoIommuWarning), pytest.raises((AccessDenied, OSError)) as refused:
        open_kernel(BDF, iommu="none", sysfs=bare.sys, dev=bare.dev)
    if request_ == "SET_IOMMU":
        assert "CAP_SYS_RAWIO" in str(refused.value)
    assert descriptors(bare.dev) == []


def test_spaces_are_shared_among_their_kind(bare: Any) -> None:
    bare.add(OTHER, group=13, cdev=None)
    with opened(bare) as first, pytest.raises(UsageError, match="opened with iommu=none only"):
        open_kernel(OTHER, space=first.space, sysfs=bare.sys, dev=bare.dev)
