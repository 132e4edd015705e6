# SPDX-License-Identifier: Apache-2.0
"""A function through descriptors that another program opened, and an iommufd in a container's place."""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import Any

import pytest

from tests.backends.kernel.conftest import descriptors
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.backends.kernel.passed import Passed, open_passed
from vfio_ims.errors import AccessDenied, SetupError, UsageError, VfioImsError
from vfio_ims.native import vfio
from vfio_ims.native.memory import SharedMemory

BDF, PAGE = "0000:6a:01.0", 4096


def opened(kernel: Any, bdf: str | None = BDF, **passed: int) -> Any:
    return open_passed(bdf, Passed(**passed), sysfs=kernel.sys, dev=kernel.dev)


def node(kernel: Any, name: str) -> int:
    return os.open(kernel.dev / name, os.O_RDWR)


def works(port: Any) -> None:
    assert port.region_info(0).size == 0x10000
    with SharedMemory(PAGE) as memory:
        port.space.map(0x10000, memory.address, PAGE)
        assert port.space.unmap(0x10000, PAGE) == PAGE


@pytest.mark.parametrize("bound", [False, True])
def test_a_functions_own_node_with_an_iommufd(kernel: Any, bound: bool) -> None:
    function = kernel.add()
    device, iommu = node(kernel, "vfio/devices/vfio3"), node(kernel, "iommu")
    if bound:  # by who passed it
        function.bound = True
        kernel.fail["DEVICE_BIND_IOMMUFD"] = deque([errno.EINVAL])
    with opened(kernel, device=device, iommufd=iommu) as port:
        assert port.mount == "cdev"
        works(port)
    assert descriptors(kernel.dev) == []
    assert kernel.maps == {}


def test_what_is_not_passed_is_opened(kernel: Any) -> None:
    kernel.add()
    with opened(kernel, device=node(kernel, "vfio/devices/vfio3")) as port:
        works(port)
    with opened(kernel, group=node(kernel, "vfio/12")) as port:
        assert port.mount == "group"
        works(port)
    assert descriptors(kernel.dev) == []
    assert not kernel.container_of[12]


def test_a_group_with_its_container_and_device(kernel: Any) -> None:
    kernel.add()
    with opened(kernel, group=node(kernel, "vfio/12"), container=node(kernel, "vfio/vfio")) as port:
        works(port)
    group, container = node(kernel, "vfio/12"), node(kernel, "vfio/vfio")
    vfio.group_set_container(group, container)
    with pytest.raises(UsageError, match="in a container already, which must be passed too"):
        opened(kernel, group=group)
    device = vfio.group_device_fd(group, BDF)
    with opened(kernel, group=group, container=container, device=device) as port:
        works(port)
    assert descriptors(kernel.dev) == []


def test_descriptors_stay_the_callers_where_it_fails(kernel: Any) -> None:
    kernel.add()
    for request, names in {
        "IOAS_ALLOC": ("device", "iommufd"),
        "DEVICE_ATTACH_PT": ("device", "iommufd"),
        "DEVICE_GET_INFO": ("device", "iommufd"),
        "GROUP_SET_CONTAINER": ("group", "container"),
        "SET_IOMMU": ("group", "container"),
        "GROUP_GET_DEVICE_FD": ("group", "container"),
    }.items():
        kernel.container_of.clear()
        paths = {"device": "vfio/devices/vfio3", "iommufd": "iommu", "group": "vfio/12", "container": "vfio/vfio"}
        given = {name: node(kernel, paths[name]) for name in names}
        kernel.fail[request] = deque([errno.EIO])
        with pytest.raises(VfioImsError):
            opened(kernel, **given)
        assert not kernel.fail[request]
        for fd in given.values():
            os.close(fd)
        assert descriptors(kernel.dev) == [], request
    opened(kernel, device=node(kernel, "vfio/devices/vfio3")).close()  # and the lock was given back


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ((), "a device or of a group must be among them"),
        (("iommufd",), "a device or of a group must be among them"),
        (("device", "container"), "container without the group"),
        (("group", "iommufd"), "an iommufd goes with a device's own node"),
    ],
)
def test_descriptors_that_do_not_belong_together(kernel: Any, names: tuple[str, ...], why: str) -> None:
    kernel.add()
    fds = {name: os.dup(0) for name in names}
    with pytest.raises(UsageError, match=why):
        opened(kernel, **fds)
    for fd in fds.values():
        os.close(fd)


def test_what_is_no_descriptor_is_refused(kernel: Any) -> None:
    kernel.add()
    gone = os.dup(0)
    os.close(gone)
    for bad in (gone, -1, 1 << 40):
        with pytest.raises(UsageError, match=f"device={bad} is no open descriptor"):
            opened(kernel, device=bad)
    with pytest.raises(UsageError, match="passed once"):
        opened(kernel, group=0, container=0)
    with pytest.raises(UsageError, match="name the function"):
        opened(kernel, None, device=0)


def test_iommufd_in_the_containers_place(kernel: Any) -> None:
    kernel.add()
    (kernel.dev / "vfio/vfio").unlink()
    (kernel.dev / "vfio/vfio").symlink_to(kernel.dev / "iommu")
    kernel.compat = True
    with open_kernel(BDF, iommu="type1", sysfs=kernel.sys, dev=kernel.dev) as port:
        assert port.mount == "group"
        assert port.space.name == f"iommufd's container of {BDF}"
        works(port)
        kernel.fail["IOMMU_MAP_DMA"] = deque([errno.ENOMEM])
        with pytest.raises(SetupError, match=r"RLIMIT|pin") as refused:
            port.space.map(0x10000, 0, 1 << 40)
        assert "type1" not in str(refused.value), "it is iommufd that counts"
    kernel.fail["SET_IOMMU"] = deque([errno.EPERM])
    with pytest.raises((SetupError, AccessDenied), match=r"iommufd\.allow_unsafe_interrupts"):
        open_kernel(BDF, iommu="type1", sysfs=kernel.sys, dev=kernel.dev)
