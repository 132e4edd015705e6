# SPDX-License-Identifier: Apache-2.0
"""Why the kernel would not open a function, in words: decoded from its errno and from what sysfs and /proc show.

VFIO answers many different causes with few numbers. Everything here only reads, from roots that a test may choose.
Facts: the kernel's drivers/vfio/group.c, device_cdev.c, vfio_iommu_type1.c, drivers/iommu/iommufd/device.c and
iommu.c; and what Linux 7.3 was seen to answer.
"""

from __future__ import annotations

import errno
import grp
import os
import platform
import pwd
import re
import stat
from pathlib import Path

from vfio_ims.backends.kernel.claim import unseen
from vfio_ims.errors import (
    AccessDenied,
    DeviceBusy,
    DeviceError,
    RemovedError,
    SetupError,
    UnsupportedError,
    UsageError,
    VfioImsError,
)
from vfio_ims.sysfs import Function, interrupt_remapping
from vfio_ims.sysfs.kernel_drivers import group_blockers, is_vfio_driver

__all__ = [
    "attach_refused",
    "bind_refused",
    "driver_missing",
    "group_refused",
    "node_refused",
    "open_refused",
]

UNSAFE = {
    "type1": "vfio_iommu_type1.allow_unsafe_interrupts=1",
    "iommufd": "iommufd.allow_unsafe_interrupts=1",
}


def driver_missing(function: Function, *, without_iommu: bool = False) -> VfioImsError | None:
    """Why this function cannot be opened through VFIO whatever its node says; None if it can."""
    name = str(function.address)
    if not function.exists:
        why = "there is no such PCI function on this machine"
        return SetupError("open", device=name, why=why, hint="vfio-ims list shows those that there are")
    if not is_vfio_driver(function.driver):
        bound = f"its driver is {function.driver}" if function.driver else "no driver is bound to it"
        why = f"{bound}, and only a VFIO driver hands it to a program"
        return SetupError("open", device=name, why=why, hint=f"vfio-ims bind {name}")
    group = function.iommu_group
    if without_iommu:
        return None
    if group is None and not (function.vfio_cdev or "").startswith("noiommu-"):
        why = "no IOMMU stands in front of it"
        hint = "turn the IOMMU on: VT-d or AMD-Vi in the firmware, and intel_iommu=on on the kernel's command line"
        return SetupError("open", device=name, why=why, hint=hint)
    if group is None or group.without_iommu:
        why = "it is bound in VFIO's no-IOMMU mode, in which it could write any memory: never used unless it is named"
        hint = f"turn the IOMMU on and bind it again; or, as root and giving up all isolation: {name},iommu=none"
        return SetupError("open", device=name, why=why, hint=hint)
    return None


def group_refused(function: Function, operation: str = "open") -> VfioImsError:
    """The group is not viable: some other function of it is on a kernel driver. Names them."""
    name = str(function.address)
    group = function.iommu_group
    holders = group_blockers(function)
    number = "?" if group is None else group.number
    if not holders:
        why = f"its IOMMU group {number} is not viable, though no member is on a kernel driver now"
        return SetupError(operation, device=name, why=why, hint="dmesg | tail", errno=errno.EPERM)
    listed = ", ".join(f"{one} (driver {one.driver})" for one in holders)
    why = f"its IOMMU group {number} is handed out as a whole, and a kernel driver has {listed}"
    hint = "; ".join(f"vfio-ims bind {one}" for one in holders)
    return SetupError(operation, device=name, why=why, hint=f"{hint}   (or unbind)", errno=errno.EPERM)


def node_refused(code: int, node: Path, function: Function) -> VfioImsError:
    """``open`` of a VFIO node failed."""
    name, operation = str(function.address), f"open {node}"
    if code == errno.ENOENT:
        why = "the node is not there: VFIO's module is not loaded, or the container does not have the node"
        hint = f"sudo modprobe vfio-pci; ls -l {node.parent}; in a container: --device {node}"
        return SetupError(operation, device=name, why=why, hint=hint, errno=code)
    if code in (errno.EACCES, errno.EPERM):
        return _no_permission(code, node, name, operation)
    if code == errno.EBUSY:
        return _busy(code, function, operation, f"{node} is open already")
    if code == errno.ENODEV:
        return RemovedError(operation, device=name, why="the function has left VFIO", hint="vfio-ims list", errno=code)
    return DeviceError(operation, device=name, errno=code)


def _no_permission(code: int, node: Path, name: str, operation: str) -> VfioImsError:
    try:
        status = node.stat()
    except OSError:
        why = f"this user may not even look at {node.parent}"
        return AccessDenied(operation, device=name, why=why, hint=f"ls -ld {node.parent}", errno=code)
    owner, group = _owner(status.st_uid), _group(status.st_gid)
    why = f"the node belongs to {owner}:{group} with mode {stat.S_IMODE(status.st_mode):04o}"
    readable = stat.S_IMODE(status.st_mode) & 0o060 == 0o060
    if status.st_gid != 0 and readable:
        hint = f"sudo usermod -aG {group} {_owner(os.geteuid())}, and log in again"
    else:
        hint = f"sudo chgrp vfio {node} && sudo chmod 660 {node}, or for good: vfio-ims udev install"
    return AccessDenied(operation, device=name, why=why, hint=hint, errno=code)


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _busy(code: int, function: Function, operation: str, what: str) -> VfioImsError:
    group = function.iommu_group
    nodes = [] if group is None else [f"/dev/vfio/{group.number}"]
    if function.vfio_cdev:
        nodes.append(f"/dev/vfio/devices/{function.vfio_cdev}")
    why = f"{what}: by another program, by this one for a function of the same group, or through the other interface"
    blind = unseen()
    why += f" ({blind})" if blind else ""
    hint = f"sudo fuser -v {' '.join(nodes)}; to share a group, open the second function with share="
    return DeviceBusy(operation, device=str(function.address), why=why, hint=hint, errno=code)


def attach_refused(code: int, interface: str, function: Function, operation: str) -> VfioImsError:
    """The IOMMU would not take the function: SET_CONTAINER, SET_IOMMU, BIND_IOMMUFD or an attach failed.

    ``interface`` is "type1" or "iommufd".
    """
    name = str(function.address)
    if code in (errno.EPERM, errno.EBUSY) and group_blockers(function):
        return group_refused(function, operation)
    if code == errno.EBUSY or (code == errno.EPERM and interrupt_remapping(function).answer):
        # EPERM has two meanings: interrupts that cannot be isolated, and a group whose DMA another process owns.
        return _busy(code, function, operation, "the function or its group is in use")
    if code == errno.EPERM:
        why = "its interrupts cannot be isolated: the platform has no interrupt remapping (this is no file permission)"
        hint = (
            "turn interrupt remapping on (x2APIC and VT-d or AMD-Vi in the firmware, no intremap=off); to go without,"
            f" knowing that a device may then forge interrupts: {UNSAFE[interface]}"
        )
        return SetupError(operation, device=name, why=why, hint=hint, errno=code)
    if code == errno.EACCES:
        parent = function.physical_function
        if parent is None:
            why = "its virtual functions are open through VFIO: it must show the VF token that they share with it"
            return AccessDenied(operation, device=name, why=why, hint=f"{name},vf_token=UUID", errno=code)
        why = f"its physical function {parent} is on VFIO too: both openers must show the same VF token"
        hint = f"{name},vf_token=UUID, with the UUID that {parent} was opened with; or vfio-ims restore {parent}"
        return AccessDenied(operation, device=name, why=why, hint=hint, errno=code)
    if code == errno.ENOMEM:
        why = "the memory that is mapped already could not be pinned for it, or the kernel has none left"
        return SetupError(operation, device=name, why=why, hint="ulimit -l; dmesg | tail", errno=code)
    if code == errno.ENODEV:
        return RemovedError(operation, device=name, why="the function has left VFIO, or its IOMMU", errno=code)
    if code == errno.EINVAL:
        why = "the IOMMU cannot put it into this address space, or it is in one already"
        hint = "open it without share=: mapped addresses or cache coherence may differ"
        return UsageError(operation, device=name, why=why, hint=hint, errno=code)
    return DeviceError(operation, device=name, errno=code, hint="dmesg | tail")


def bind_refused(code: int, function: Function, *, with_token: bool = False) -> VfioImsError:
    """The error for a failed BIND_IOMMUFD.

    EINVAL there: the function is bound already, through another descriptor of its node; or it was shown a VF token,
    which kernels before 6.17 do not know there.
    """
    operation = "bind to an iommufd"
    if code == errno.EINVAL and with_token and _kernel() < (6, 17):
        why = f"a function's own node takes no VF token on Linux {platform.release()}: that came with 6.17"
        hint = f"{function},iommu=type1,vf_token=UUID: through its group every kernel takes one"
        return UnsupportedError(operation, device=str(function), why=why, hint=hint, errno=code)
    if code == errno.EINVAL:
        return _busy(errno.EBUSY, function, operation, "the function is in use")
    return attach_refused(code, "iommufd", function, operation)


def _kernel() -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(match[1]), int(match[2])) if match else (0, 0)


def open_refused(code: int, function: Function) -> VfioImsError:
    """GROUP_GET_DEVICE_FD failed: the function itself would not open."""
    name = str(function.address)
    if code == errno.EBUSY:
        return _busy(code, function, "open", "the function is in use")
    if code in (errno.EINVAL, errno.EACCES):
        return attach_refused(errno.EACCES, "type1", function, "open")
    if code == errno.ENODEV:
        why = "the group does not have the function any more"
        return RemovedError("open", device=name, why=why, hint=f"vfio-ims list; vfio-ims bind {name}", errno=code)
    if code == errno.EIO:
        why = "the kernel could not enable it: it does not answer, or would not leave D3"
        return DeviceError("open", device=name, why=why, hint="dmesg | tail", errno=code)
    return DeviceError("open", device=name, errno=code, hint="dmesg | tail")
