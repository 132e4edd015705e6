# SPDX-License-Identifier: Apache-2.0
"""PASIDs: page tables for them, what they need, and the IOMMUs and interfaces without."""

from __future__ import annotations

import errno
import re
from collections import deque
from typing import Any

import pytest

from tests.backends.kernel.conftest import descriptors
from tests.backends.kernel.fake_kernel import BDF
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError


def test_pasids_need_more_than_a_success(kernel: Any) -> None:
    """The attach succeeds without the capability and does nothing: only the IOMMU's information shows it."""
    kernel.add()
    with open_kernel(BDF, iommu="iommufd", sysfs=kernel.sys, dev=kernel.dev) as port:
        with port.new_space() as space, pytest.raises(UnsupportedError, match="PASID"):
            port.attach_pasid(5, space)
        assert "DEVICE_ATTACH_PT" not in kernel.asked[-1:]
        kernel.fail["GET_HW_INFO"] = deque([errno.ENOTTY])
        with pytest.raises(UnsupportedError):
            port.attach_pasid(5, port.space)


def test_pasids_and_the_function_get_page_tables(kernel: Any) -> None:
    function = kernel.add()
    kernel.max_pasid_log2 = 16
    port = open_kernel(BDF, iommu="iommufd", sysfs=kernel.sys, dev=kernel.dev)
    own = function.attached[None]
    assert own not in kernel.hwpts, "without PASIDs the function is on the plain space"
    space = port.new_space()
    for bad in (0, -1, 1 << 16):
        with pytest.raises(UsageError, match="PASID must be"):
            port.attach_pasid(bad, space)
    port.attach_pasid(5, space)
    assert kernel.hwpts[function.attached[None]] == own
    assert kernel.hwpts[function.attached[5]] == space.id
    port.attach_pasid(6, space)
    port.attach_pasid(7, port.space)
    assert function.attached[6] == function.attached[5]
    assert function.attached[7] == function.attached[None]
    with pytest.raises(DeviceBusy):
        port.attach_pasid(5, space)
    with pytest.raises(UsageError, match="not attached"):
        port.detach_pasid(9)
    port.detach_pasid(6)
    port.detach_pasid(5)
    assert len(kernel.hwpts) == 1
    port.attach_pasid(5, space)
    port.close()
    assert not space.closed, "its maker closes it"
    space.close()
    assert kernel.hwpts == {}
    assert kernel.maps == {}
    assert descriptors(kernel.dev) == []


def test_closing_a_space_detaches_its_pasids(kernel: Any) -> None:
    function = kernel.add()
    kernel.max_pasid_log2 = 16
    with open_kernel(BDF, iommu="iommufd", sysfs=kernel.sys, dev=kernel.dev) as port:
        with port.new_space() as space:
            port.attach_pasid(5, space)
            port.attach_pasid(6, space)
        assert set(function.attached) == {None}
        assert list(kernel.maps) == [port.space.id]
        with pytest.raises(UsageError, match="not attached"):
            port.detach_pasid(5)
        port.attach_pasid(7, port.space)
        with pytest.raises(DeviceBusy):
            port.space.close()
        assert 7 in function.attached
    assert kernel.maps == {}


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        ("dmar0", "the IOMMU is not in scalable mode.*next: .*intel_iommu=on,sm_on"),
        ("ivhd0", "AMD-Vi attaches no PASIDs for VFIO.*no setting of an AMD machine changes that"),
        ("smmu3.0x9050000", "the SMMU takes no substreams"),
        ("virtio2", "virtio2 takes no PASIDs"),
    ],
)
@pytest.mark.parametrize("asked", ["GET_HW_INFO", "HWPT_ALLOC", "attach"])
def test_an_iommu_without_pasids_is_named_and_nothing_is_left(kernel: Any, asked: str, unit: str, why: str) -> None:
    """AMD-Vi has a width, makes the page tables, and refuses the PASID itself: Linux 7.3."""
    function = kernel.add()
    (kernel.sys / "bus/pci/devices" / BDF / "iommu").symlink_to(f"../../../virtual/iommu/{unit}")
    kernel.max_pasid_log2 = 0 if asked == "GET_HW_INFO" else 16
    kernel.attaches_pasids = asked != "attach"
    with open_kernel(BDF, iommu="iommufd", sysfs=kernel.sys, dev=kernel.dev) as port:
        own = function.attached[None]
        if asked == "HWPT_ALLOC":
            kernel.fail[asked] = deque([errno.EOPNOTSUPP])
        with port.new_space() as space, pytest.raises(UnsupportedError) as refused:
            port.attach_pasid(5, space)
        assert re.search(why, str(refused.value), re.DOTALL), refused.value
        assert function.attached == {None: own}
        assert kernel.hwpts == {}
        assert list(kernel.maps) == [own], "the second address space is gone"


def test_a_group_has_no_pasids(kernel: Any) -> None:
    kernel.add()
    with open_kernel(BDF, iommu="type1", sysfs=kernel.sys, dev=kernel.dev) as port:
        with pytest.raises(UnsupportedError, match="iommu=iommufd"):
            port.attach_pasid(5, port.space)
        with pytest.raises(UsageError):
            port.detach_pasid(5)
