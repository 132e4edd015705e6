# SPDX-License-Identifier: Apache-2.0
"""Opening a function through descriptors that another program opened: systemd, a broker, a privileged parent.

On success they are ours and closed with the device; where it fails they are still the caller's, and open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from vfio_ims.backends.kernel.access import retry, translate_errno
from vfio_ims.backends.kernel.cdev import CdevDevice
from vfio_ims.backends.kernel.claim import claim
from vfio_ims.backends.kernel.device import KernelDevice
from vfio_ims.backends.kernel.group import Group, GroupDevice, container_of, open_container
from vfio_ims.backends.kernel.ioas import IoasSpace, Iommufd
from vfio_ims.backends.kernel.refusals import attach_refused, bind_refused, driver_missing, node_refused, open_refused
from vfio_ims.errors import UsageError
from vfio_ims.interruption import uninterrupted
from vfio_ims.native import vfio
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.pci import PciAddress
from vfio_ims.sysfs import Function

__all__ = ["Passed", "open_passed"]

_OPERATION = "open from descriptors"
_CONTAINED = 2


class Passed(NamedTuple):
    """Descriptors that a caller passes in; None: not passed."""

    device: int | None = None
    group: int | None = None
    container: int | None = None
    iommufd: int | None = None


def open_passed(
    bdf: str | None, passed: Passed, *, sysfs: Path = Path("/sys"), dev: Path = Path("/dev")
) -> KernelDevice:
    """The function behind ``passed``: its own node (and an iommufd), or its group (and container, and device).

    ``bdf`` may be None where the descriptors say which function it is. What is not passed is opened here: /dev/iommu,
    /dev/vfio/vfio. Raises UsageError for descriptors that do not belong together, else as ``open_kernel``.
    """
    _check(bdf, passed)
    function = _function(bdf, passed, sysfs)
    refusal = driver_missing(function)
    if refusal is not None:
        raise refusal
    with uninterrupted(), ExitStack() as undo:  # see open_kernel
        held = claim(str(function.address), dev)
        if held is not None:
            undo.callback(held.close)
        opened = _by_group(function, passed, dev) if passed.group is not None else _by_node(function, passed, dev)
        undo.pop_all()
        opened.claim = held
        for fd in passed:
            if fd is not None:
                os.close(fd)
        return opened


def _check(bdf: str | None, passed: Passed) -> None:
    if passed.device is None and passed.group is None:
        raise UsageError(_OPERATION, device=bdf, why="the descriptor of a device or of a group must be among them")
    if passed.iommufd is not None and (passed.group is not None or passed.container is not None):
        raise UsageError(_OPERATION, device=bdf, why="an iommufd goes with a device's own node, not with a group")
    if passed.container is not None and passed.group is None:
        raise UsageError(_OPERATION, device=bdf, why="a container without the group in it is of no use")
    for name, fd in zip(passed._fields, passed, strict=True):
        if fd is None:
            continue
        try:
            os.fstat(fd)
        except (OSError, TypeError, OverflowError) as error:
            why = f"{name}={fd!r} is no open descriptor"
            raise UsageError(_OPERATION, device=bdf, why=why, errno=getattr(error, "errno", None)) from error
    if len({fd for fd in passed if fd is not None}) != sum(fd is not None for fd in passed):
        raise UsageError(_OPERATION, device=bdf, why="each descriptor must be passed once: all of them are closed")


def _function(bdf: str | None, passed: Passed, sysfs: Path) -> Function:
    """The function that is named, and is the one that the descriptors are of, as far as they say."""
    found = _members(passed, sysfs)
    if bdf is not None:
        named = PciAddress.parse(bdf)
        if found and named not in found:
            why = f"the descriptors are of {', '.join(map(str, found))}"
            raise UsageError(_OPERATION, device=str(named), why=why)
        return Function(named, sysfs)
    if len(found) != 1:
        why = f"the group has {', '.join(map(str, found))}" if found else "the descriptors do not say of what they are"
        raise UsageError(_OPERATION, why=why, hint="name the function: its PCI address")
    return Function(found[0], sysfs)


def _members(passed: Passed, sysfs: Path) -> list[PciAddress]:
    """The functions behind a node's or a group's descriptor, by its device number; none for other descriptors."""
    fd = passed.group if passed.group is not None else passed.device
    assert fd is not None
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode):
        return []
    place = sysfs / "dev/char" / f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    name = place.resolve().name
    if passed.group is not None:
        number = name.removeprefix("noiommu-")
        folder = sysfs / "kernel/iommu_groups" / number / "devices"
        names = [one.name for one in folder.iterdir()] if number.isdecimal() and folder.is_dir() else []
    else:
        names = [place.resolve().parent.parent.name] if "vfio-dev" in place.resolve().parts else []
    return sorted(PciAddress.parse(one) for one in names if PciAddress.looks_like(one))


def _copy(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)


def _by_node(function: Function, passed: Passed, dev: Path) -> KernelDevice:
    assert passed.device is not None
    bdf = str(function.address)
    with ExitStack() as undo:
        if passed.iommufd is not None:
            fd = _copy(passed.iommufd)
        else:
            with translate_errno(lambda code: node_refused(code, dev / "iommu", function)):
                fd = os.open(dev / "iommu", os.O_RDWR | os.O_CLOEXEC)
        with translate_errno(lambda code: attach_refused(code, "iommufd", function, "use the iommufd")):
            space = IoasSpace(Iommufd(fd, "iommufd"), f"address space of {bdf}")
        space.join()
        undo.callback(space.leave)
        device = Descriptor(_copy(passed.device), bdf)
        undo.callback(device.close)
        number = 0
        try:
            number = vfio.bind_iommufd(device.fileno(), space.iommu.fileno())
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise bind_refused(error.errno or 0, function) from error
            # Bound already, by who passed it: PASIDs would need its number there, which no call returns.
        with translate_errno(
            lambda code: _not_there(code, function) or attach_refused(code, "iommufd", function, "attach")
        ):
            vfio.attach_pt(device.fileno(), space.id)
        opened = CdevDevice(function, device, space, number)
        undo.pop_all()
        return opened


def _not_there(code: int, function: Function) -> UsageError | None:
    if code not in (errno.ENOENT, errno.ENOTTY, errno.EINVAL):
        return None
    why = "the device is not bound to this iommufd, or is in use, or its descriptor is not of its own node"
    hint = "pass the iommufd that it was bound to, or an unbound descriptor"
    return UsageError(_OPERATION, device=str(function), why=why, hint=hint, errno=code)


def _by_group(function: Function, passed: Passed, dev: Path) -> KernelDevice:
    assert passed.group is not None
    bdf = str(function.address)
    number = function.iommu_group.number if function.iommu_group is not None else -1
    with ExitStack() as undo:
        group = Group(_copy(passed.group), number)
        undo.callback(group.close)
        with translate_errno(lambda code: attach_refused(code, "type1", function, "read the group's status")):
            contained = bool(vfio.group_status(group.fileno()) & _CONTAINED)
        if contained and passed.container is None:
            why = "the group is in a container already, which must be passed too"
            raise UsageError(_OPERATION, device=bdf, why=why, hint="container=FD")
        if passed.container is not None:
            space = container_of(function, _copy(passed.container), "the container that was passed")
        else:
            space = open_container(function, dev)
        undo.callback(space.close)
        if contained:
            space.adopt(group)
        else:
            space.bring(function, group)
        undo.callback(space.leave)
        undo.callback(space.depart, group)
        if passed.device is not None:
            fd = _copy(passed.device)
        else:
            with translate_errno(lambda code: open_refused(code, function)):
                fd = retry(lambda: vfio.group_device_fd(group.fileno(), bdf), errno.EBUSY)
        device = Descriptor(fd, bdf)
        undo.callback(device.close)
        opened = GroupDevice(function, device, space, group)
        undo.pop_all()
        return opened
