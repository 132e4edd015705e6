# SPDX-License-Identifier: Apache-2.0
"""Opening a function: by group or by node, which of them by itself, and what stands in the way."""

from __future__ import annotations

import errno
from collections import deque
from typing import Any

import pytest

from tests.backends.kernel.conftest import Open, descriptors
from tests.backends.kernel.fake_kernel import BDF, OTHER
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.errors import AccessDenied, SetupError, UsageError
from vfio_ims.ports.device import DevicePort
from vfio_ims.ports.values import Area


def test_a_port_is_a_port(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    with opened() as port:
        assert isinstance(port, DevicePort)
        assert port.name == BDF
        assert port.mount == {"type1": "group", "iommufd": "cdev"}[interface]
        assert port.settle > 0
        info = port.device_info()
        assert (info.regions, info.irqs) == (9, 5)
        assert port.irq_info(2).count == 9
        assert port.region_info(0).areas == (Area(0, 0x10000),)
        assert port.region_info(0).msix_mappable
        assert port.region_info(4).areas == ()
        assert port.region_info(5).size == 0
        for bad in (lambda: port.region_info(9), lambda: port.irq_info(-1), lambda: port.window(5)):
            with pytest.raises(UsageError):
                bad()


def test_auto_takes_the_node_where_there_is_one(kernel: Any) -> None:
    kernel.add()
    kernel.add(OTHER, group=13, cdev=None)
    with open_kernel(BDF, sysfs=kernel.sys, dev=kernel.dev) as port:
        assert port.mount == "cdev"
    with open_kernel(OTHER, sysfs=kernel.sys, dev=kernel.dev) as port:
        assert port.mount == "group"
    (kernel.dev / "iommu").unlink()
    with open_kernel(BDF, sysfs=kernel.sys, dev=kernel.dev) as port:
        assert port.mount == "group"
    with pytest.raises(UsageError, match="iommu must be one of"):
        open_kernel(BDF, iommu="type2", sysfs=kernel.sys, dev=kernel.dev)


def test_a_busy_node_is_tried_again_for_a_while(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    request = {"type1": "GROUP_GET_DEVICE_FD", "iommufd": "DEVICE_BIND_IOMMUFD"}[interface]
    kernel.fail[request] = deque([errno.EBUSY] * 3)
    opened().close()
    assert kernel.asked.count(request) == 4


def test_a_kernel_without_type1v2(kernel: Any) -> None:
    kernel.add()
    kernel._check_extension = lambda *_: 0
    with pytest.raises(SetupError, match="no type1v2"):
        open_kernel(BDF, iommu="type1", sysfs=kernel.sys, dev=kernel.dev)
    assert descriptors(kernel.dev) == []


def test_no_remapping_is_not_a_file_permission(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    kernel.fail["SET_IOMMU"] = deque([errno.EPERM])
    kernel.fail["DEVICE_BIND_IOMMUFD"] = deque([errno.EPERM])
    with pytest.raises(SetupError, match="no interrupt remapping") as caught:
        opened()
    assert not isinstance(caught.value, AccessDenied)
    parameter = {"type1": "vfio_iommu_type1", "iommufd": "iommufd"}[interface]
    assert f"{parameter}.allow_unsafe_interrupts=1" in caught.value.hint
