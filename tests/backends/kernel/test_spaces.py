# SPDX-License-Identifier: Apache-2.0
"""Address spaces: what is mapped, where, and which functions share one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.backends.kernel.conftest import Open, descriptors
from tests.backends.kernel.fake_kernel import BDF, OTHER, PAGE
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.errors import DeviceBusy, UsageError
from vfio_ims.native.memory import SharedMemory


def test_memory_is_mapped_and_unmapped(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    with opened() as port, SharedMemory(4 * PAGE) as memory:
        space = port.space
        assert [one.start for one in space.ranges()] == [0, 0xFEF0_0000]
        assert space.page_sizes() & -space.page_sizes() == PAGE
        space.map(0x10000, memory.address, 4 * PAGE)
        space.map(0x20000, memory.address, PAGE, write=False)
        with pytest.raises(DeviceBusy, match="mapped already"):
            space.map(0x11000, memory.address, PAGE)
        with pytest.raises(UsageError):
            space.map(0x30001, memory.address, PAGE)
        with pytest.raises(UsageError):
            space.map(-PAGE, memory.address, PAGE)
        with pytest.raises(UsageError, match="must not cut"):
            space.unmap(0x11000, PAGE)
        assert space.unmap(0x40000, PAGE) == 0
        assert space.unmap(0x10000, 4 * PAGE) == 4 * PAGE
        assert space.unmap(0, 1 << 30) == PAGE
        flags = {"type1": (3, 1), "iommufd": (7, 5)}[interface]
        space.map(0x10000, memory.address, PAGE)
        space.map(0x20000, memory.address, PAGE, write=False)
        (table,) = [table for table in kernel.maps.values() if table]
        assert (table[0x10000][2], table[0x20000][2]) == flags


def test_two_functions_share_a_space_and_the_last_closes_it(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    kernel.add(OTHER, group=13, cdev=4)
    first = opened()
    space = first.space
    second = opened(OTHER, space=space)
    assert second.space is space
    assert kernel.iommu_set == (1 if interface == "type1" else 0)
    with pytest.raises(DeviceBusy, match="2 open devices use it"):
        space.close()
    first.close()
    space.map(0x10000, 0x7000_0000, PAGE)
    assert not kernel.container_of.get(12)
    second.close()
    assert space.closed
    assert descriptors(kernel.dev) == []


def test_two_functions_of_one_group_share_its_descriptor(kernel: Any) -> None:
    kernel.add()
    kernel.add(OTHER, cdev=4)
    with open_kernel(BDF, iommu="type1", sysfs=kernel.sys, dev=kernel.dev) as first:
        with open_kernel(OTHER, space=first.space, sysfs=kernel.sys, dev=kernel.dev) as second:
            assert second.mount == "group"
            assert kernel.asked.count("GROUP_SET_CONTAINER") == 1
        assert kernel.container_of[12]
    assert not kernel.container_of[12]


def test_a_space_of_the_other_kind_cannot_be_shared(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    kernel.add(OTHER, group=13, cdev=4)
    wrong = {"type1": "iommufd", "iommufd": "type1"}[interface]
    with opened() as first:
        with pytest.raises(UsageError, match=interface):
            open_kernel(OTHER, iommu=wrong, space=first.space, sysfs=kernel.sys, dev=kernel.dev)
        with pytest.raises(UsageError, match="no address space of the kernel"):
            open_kernel(OTHER, space=type("Soft", (), {"name": "soft"})(), sysfs=kernel.sys, dev=kernel.dev)  # type: ignore[arg-type]


def test_an_old_kernel_that_names_no_ranges_gets_nothing_mapped_where_messages_go(kernel: Any) -> None:
    kernel.add()
    kernel.ranges = []
    with open_kernel(BDF, iommu="type1", sysfs=kernel.sys, dev=kernel.dev) as port:
        for address in (0x800_0000, 0x80F_F000, 0xFEE0_0000):
            assert not any(one.holds(address, 4096) for one in port.space.ranges())
