# SPDX-License-Identifier: Apache-2.0
"""Why a function would not open, or memory would not map: each cause distinguished, each with the next step."""

from __future__ import annotations

import errno
import os
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from vfio_ims.backends.kernel import access as kernel_access
from vfio_ims.backends.kernel.limits import Locked, map_refused, unmap_refused
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.backends.kernel.refusals import attach_refused, driver_missing, group_refused, node_refused, open_refused
from vfio_ims.errors import (
    AccessDenied,
    DeviceBusy,
    DeviceError,
    RemovedError,
    SetupError,
    UsageError,
    VfioImsError,
)
from vfio_ims.pci import PciAddress
from vfio_ims.sysfs import Function

BDF = "0000:6a:01.0"
SIBLING = "0000:6a:01.1"


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_access.retry, "__defaults__", (0.0,))


def function(kernel: Any, bdf: str = BDF) -> Function:
    return Function(PciAddress.parse(bdf), kernel.sys)


def refused(kernel: Any, **options: Any) -> VfioImsError:
    with pytest.raises(VfioImsError) as caught:
        open_kernel(BDF, sysfs=kernel.sys, dev=kernel.dev, **options)
    return caught.value


def test_no_such_function(kernel: Any) -> None:
    error = refused(kernel)
    assert isinstance(error, SetupError)
    assert "no such PCI function" in error.why
    assert "vfio-ims list" in error.hint


@pytest.mark.parametrize(("driver", "word"), [("idxd", "its driver is idxd"), (None, "no driver is bound")])
def test_not_on_a_vfio_driver(kernel: Any, driver: str | None, word: str) -> None:
    kernel.add(driver=driver)
    error = refused(kernel)
    assert isinstance(error, SetupError)
    assert word in error.why
    assert error.hint == f"vfio-ims bind {BDF}"


@pytest.mark.parametrize("driver", ["vfio-pci", "mlx5_vfio_pci", "nvgrace_gpu_vfio_pci"])
def test_variants_of_vfio_pci_are_fine(kernel: Any, driver: str) -> None:
    kernel.add(driver=driver)
    assert driver_missing(function(kernel)) is None


def test_no_iommu(kernel: Any) -> None:
    kernel.add()
    (kernel.sys / "bus/pci/devices" / BDF / "iommu_group").unlink()
    error = refused(kernel)
    assert "no IOMMU stands in front of it" in error.why
    assert "intel_iommu=on" in error.hint


def test_no_iommu_mode_is_never_used_unnamed(kernel: Any) -> None:
    kernel.add()
    (kernel.sys / "kernel/iommu_groups/12/name").write_text("vfio-noiommu\n")
    error = refused(kernel)
    assert "never used unless it is named" in error.why
    assert f"{BDF},iommu=none" in error.hint


def test_none_is_for_functions_without_an_iommu(kernel: Any) -> None:
    kernel.add()
    error = refused(kernel, iommu="none")
    assert isinstance(error, UsageError)
    assert "an IOMMU stands in front of it" in error.why
    (kernel.sys / "bus/pci/devices" / BDF / "iommu_group").unlink()
    error = refused(kernel, iommu="none")
    assert isinstance(error, SetupError)
    assert "enable_unsafe_noiommu_mode" in error.hint


def test_a_group_that_is_not_viable_names_who_holds_it(kernel: Any) -> None:
    kernel.add()
    kernel.add(SIBLING, driver="ixgbe", cdev=None)
    kernel.add("0000:6a:00.0", driver="pcieport", cdev=None)
    kernel.viable[12] = False
    error = refused(kernel, iommu="type1")
    assert isinstance(error, SetupError)
    assert f"{SIBLING} (driver ixgbe)" in error.why
    assert "pcieport" not in error.why, "a bridge's driver is no reason"
    assert f"vfio-ims bind {SIBLING}" in error.hint
    assert "IOMMU group 12" in error.why


@pytest.mark.parametrize("code", [errno.EPERM, errno.EBUSY])
def test_the_same_through_a_node_comes_as_an_errno(kernel: Any, code: int) -> None:
    kernel.add()
    kernel.add(SIBLING, driver="ixgbe", cdev=None)
    kernel.fail["DEVICE_BIND_IOMMUFD"] = deque([code] * 1000)
    error = refused(kernel, iommu="iommufd")
    assert isinstance(error, SetupError)
    assert f"{SIBLING} (driver ixgbe)" in error.why


def test_where_interrupts_are_remapped_the_same_errno_means_another_owner(kernel: Any) -> None:
    """iommu_device_claim_dma_owner answers EPERM too, where another program has the group."""
    kernel.add()
    folder = kernel.sys / "bus/pci/devices" / BDF / "msi_irqs"
    folder.mkdir()
    (folder / "55").write_text("msix")
    chip = kernel.sys / "kernel/irq/55"
    chip.mkdir(parents=True)
    (chip / "chip_name").write_text("IR-PCI-MSIX-0000:6a:01.0")
    error = attach_refused(errno.EPERM, "iommufd", function(kernel), "attach")
    assert isinstance(error, DeviceBusy)
    assert "fuser" in error.hint


def test_a_group_without_a_culprit_points_at_the_log(kernel: Any) -> None:
    kernel.add()
    error = group_refused(function(kernel))
    assert "not viable" in error.why
    assert "dmesg" in error.hint


@pytest.mark.parametrize("node", ["vfio/12", "vfio/vfio", "iommu", "vfio/devices/vfio3"])
def test_a_missing_node(kernel: Any, node: str) -> None:
    kernel.add()
    (kernel.dev / node).unlink()
    error = refused(kernel, iommu="type1" if node in ("vfio/12", "vfio/vfio") else "iommufd")
    assert isinstance(error, SetupError)
    assert error.operation == f"open {kernel.dev / node}"
    assert "modprobe vfio-pci" in error.hint
    assert str(kernel.dev / node) in error.hint


def test_a_kernel_without_nodes_of_functions(kernel: Any) -> None:
    kernel.add(cdev=None)
    error = refused(kernel, iommu="iommufd")
    assert "VFIO_DEVICE_CDEV" in error.why
    assert "iommu=type1" in error.hint


def test_a_node_that_this_user_may_not_open_names_owner_mode_and_remedy(kernel: Any) -> None:
    kernel.add()
    node = kernel.dev / "vfio/12"
    node.chmod(0o600)
    error = node_refused(errno.EACCES, node, function(kernel))
    assert isinstance(error, AccessDenied)
    assert f"{node.owner()}:{node.group()} with mode 0600" in error.why
    assert f"chgrp vfio {node}" in error.hint
    assert "vfio-ims udev" in error.hint
    assert error.errno == errno.EACCES


def test_a_node_of_a_group_asks_for_membership(kernel: Any) -> None:
    if os.geteuid():
        pytest.skip("needs root to give a file to another group: run the tests as root")
    kernel.add()
    node = kernel.dev / "vfio/12"
    os.chown(node, 0, 60_123)
    node.chmod(0o660)
    error = node_refused(errno.EACCES, node, function(kernel))
    assert "usermod -aG 60123" in error.hint
    assert "log in again" in error.hint


def test_a_folder_that_may_not_be_searched(kernel: Any, tmp_path: Path) -> None:
    kernel.add()
    error = node_refused(errno.EACCES, tmp_path / "missing" / "12", function(kernel))
    assert isinstance(error, AccessDenied)
    assert "ls -ld" in error.hint


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (errno.EBUSY, DeviceBusy, "open already"),
        (errno.ENODEV, RemovedError, "left VFIO"),
        (errno.EIO, DeviceError, ""),
    ],
)
def test_other_answers_of_a_node(kernel: Any, code: int, kind: type[VfioImsError], word: str) -> None:
    kernel.add()
    error = node_refused(code, kernel.dev / "vfio/12", function(kernel))
    assert type(error) is kind
    assert word in error.why
    if code == errno.EBUSY:
        assert "fuser -v /dev/vfio/12 /dev/vfio/devices/vfio3" in error.hint


@pytest.mark.parametrize("interface", ["type1", "iommufd"])
@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (errno.EPERM, SetupError, "no interrupt remapping"),
        (errno.EBUSY, DeviceBusy, "in use"),
        (errno.EACCES, AccessDenied, "VF token"),
        (errno.ENOMEM, SetupError, "pinned"),
        (errno.ENODEV, RemovedError, "left VFIO"),
        (errno.EINVAL, UsageError, "cannot put it into this address space"),
        (errno.EFAULT, DeviceError, ""),
    ],
)
def test_what_an_attach_may_answer(kernel: Any, interface: str, code: int, kind: type[VfioImsError], word: str) -> None:
    kernel.add()
    error = attach_refused(code, interface, function(kernel), "attach")
    assert type(error) is kind
    assert word in error.why
    assert error.device == BDF
    if code == errno.EPERM:
        parameter = {"type1": "vfio_iommu_type1", "iommufd": "iommufd"}[interface]
        assert f"{parameter}.allow_unsafe_interrupts=1" in error.hint
        assert "no file permission" in error.why


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (errno.EBUSY, DeviceBusy, "in use"),
        (errno.EACCES, AccessDenied, "VF token"),
        (errno.ENODEV, RemovedError, "group does not have"),
        (errno.EIO, DeviceError, "D3"),
        (errno.ENOSYS, DeviceError, ""),
    ],
)
def test_what_the_function_itself_may_answer(kernel: Any, code: int, kind: type[VfioImsError], word: str) -> None:
    kernel.add()
    error = open_refused(code, function(kernel))
    assert type(error) is kind
    assert word in error.why


MIB = 1 << 20


@pytest.mark.parametrize("interface", ["type1", "iommufd"])
def test_the_memory_limit_comes_with_its_numbers(interface: str) -> None:
    error = map_refused(errno.ENOMEM, "container", 0x10000, 16 * MIB, interface, Locked(8 * MIB, MIB))
    assert isinstance(error, SetupError)
    for part in ("16 MiB more", "1 MiB of this", "is 8 MiB", interface):
        assert part in error.why
    assert f"ulimit -l {17 * 1024}" in error.hint
    assert "LimitMEMLOCK=17408K" in error.hint
    assert f"--memlock={17 * MIB}" in error.hint


@pytest.mark.parametrize(
    ("code", "locked", "kind", "word"),
    [
        (errno.ENOMEM, Locked(None, 0), SetupError, "pin or map"),
        (errno.ENOMEM, Locked(64 * MIB, 0), SetupError, "pin or map"),
        (errno.EEXIST, Locked(None, 0), DeviceBusy, "mapped already"),
        (errno.ENOSPC, Locked(None, 0), DeviceBusy, "65535"),
        (errno.EFAULT, Locked(None, 0), UsageError, "not this process's"),
        (errno.EINVAL, Locked(None, 0), UsageError, "whole pages"),
        (errno.EIO, Locked(None, 0), DeviceError, ""),
    ],
)
def test_what_a_map_may_answer(code: int, locked: Locked, kind: type[VfioImsError], word: str) -> None:
    error = map_refused(code, "container", 0x10000, MIB, "type1", locked)
    assert type(error) is kind
    assert word in error.why
    assert error.operation == "map 0x100000 bytes at IOVA 0x10000"


def test_what_an_unmap_may_answer() -> None:
    assert isinstance(unmap_refused(errno.EINVAL, "c", 0, 1), UsageError)
    assert isinstance(unmap_refused(errno.EBUSY, "c", 0, 1), DeviceBusy)
    assert isinstance(unmap_refused(errno.EIO, "c", 0, 1), DeviceError)


def test_what_is_locked_is_read_from_the_process(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("VmPeak:\t 9 kB\nVmLck:\t   12 kB\nVmPin:\t  64 kB\n")
    assert Locked.now("type1", tmp_path).used == 12 * 1024
    assert Locked.now("iommufd", tmp_path).used == 64 * 1024
    assert Locked.now("type1", tmp_path / "missing").used == 0


def test_a_variant_of_the_same_error_reaches_the_user(kernel: Any) -> None:
    """Each step of an open, with an unexpected errno: the function is named, and what was tried."""
    kernel.add()
    for interface, request in (
        ("type1", "GET_API_VERSION"),
        ("type1", "GROUP_GET_STATUS"),
        ("type1", "GROUP_SET_CONTAINER"),
        ("type1", "SET_IOMMU"),
        ("type1", "GROUP_GET_DEVICE_FD"),
        ("iommufd", "IOAS_ALLOC"),
        ("iommufd", "DEVICE_BIND_IOMMUFD"),
        ("iommufd", "DEVICE_ATTACH_PT"),
        ("iommufd", "DEVICE_GET_INFO"),
    ):
        kernel.fail[request] = deque([errno.EL2HLT])
        error = refused(kernel, iommu=interface)
        assert isinstance(error, DeviceError)
        assert error.device == BDF
        assert error.errno == errno.EL2HLT
        kernel.container_of.clear()
