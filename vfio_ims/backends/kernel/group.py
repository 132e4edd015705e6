# SPDX-License-Identifier: Apache-2.0
"""VFIO by group and container: /dev/vfio/N and /dev/vfio/vfio, with the type1v2 IOMMU."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from vfio_ims.backends.kernel.access import retry, translate_errno
from vfio_ims.backends.kernel.device import KernelDevice
from vfio_ims.backends.kernel.refusals import attach_refused, group_refused, node_refused, open_refused
from vfio_ims.backends.kernel.space import Type1Space
from vfio_ims.errors import SetupError
from vfio_ims.native import iommufd, vfio
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.sysfs import Function

__all__ = ["Group", "GroupDevice", "GroupSpace", "container_of", "open_container", "open_group"]

_VIABLE = 1


class Group(Descriptor):
    """An open IOMMU group: one for all its functions, since the kernel lets it be opened once."""

    def __init__(self, fd: int, number: int) -> None:
        self.number, self.devices, self.contained = number, 0, False
        super().__init__(fd, f"IOMMU group {number}")

    def _release(self) -> None:
        if self.contained and self._fd >= 0:
            with suppress(OSError):  # something still holds the device: closing the group does it when that goes
                vfio.group_unset_container(self._fd)
        super()._release()


class GroupSpace(Type1Space):
    """A container with the groups that are in it. ``prefix``: of their nodes' names."""

    prefix = ""

    def __init__(self, container: Descriptor, name: str, *, by_iommufd: bool = False) -> None:
        super().__init__(container, name)
        if by_iommufd:  # it counts locked memory, and has the switch for unsafe interrupts
            self.interface = "iommufd"
        self._groups: dict[int, Group] = {}

    def enter(self, function: Function, dev: Path) -> Group:
        """The function's group, in this container; ``depart`` gives it back."""
        assert function.iommu_group is not None
        number = function.iommu_group.number
        with self._lock:
            self.check_open("attach a group")
            if number not in self._groups:
                self._groups[number] = self._take(function, number, dev / "vfio" / f"{self.prefix}{number}")
            self._groups[number].devices += 1
            return self._groups[number]

    def groups(self) -> dict[int, int]:
        """The descriptors of the groups in this container, by number."""
        with self._lock:
            return {number: group.fileno() for number, group in self._groups.items()}

    def adopt(self, group: Group) -> None:
        """Take a group that is in this container already, with one open device: both came from another process."""
        with self._lock:
            group.devices, group.contained, self._prepared = 1, True, True
            self._groups[group.number] = group
        self.join()

    def bring(self, function: Function, group: Group) -> None:
        """Put an open group in, with one device of it to come: it came from another program."""
        with self._lock:
            self.check_open("attach a group")
            self._contain(function, group)
            group.devices = 1
            self._groups[group.number] = group
        self.join()

    def depart(self, group: Group) -> None:
        """One device less; the last one takes the group out of the container."""
        with self._lock:
            group.devices -= 1
            if not group.devices:
                del self._groups[group.number]
                group.close()

    def _take(self, function: Function, number: int, node: Path) -> Group:
        group = Group(_open(node, function), number)
        try:
            self._contain(function, group)
        except BaseException:
            group.close()
            raise
        return group

    def _contain(self, function: Function, group: Group) -> None:
        step = "read the group's status"
        with translate_errno(lambda code: attach_refused(code, self.interface, function, step)):
            if not vfio.group_status(group.fileno()) & _VIABLE:
                raise group_refused(function)
            step = "put the group into a container"
            vfio.group_set_container(group.fileno(), self.container.fileno())
            group.contained = True
            step = "choose the kind of IOMMU"
            self.prepare()


class GroupDevice(KernelDevice):
    """A function opened through its group."""

    mount = "group"
    _space: GroupSpace

    def __init__(self, function: Function, device: Descriptor, space: GroupSpace, group: Group) -> None:
        self.group = group
        super().__init__(function, device, space)

    def _groups(self) -> dict[int, int]:
        return self._space.groups()

    def _release(self) -> None:
        self.device.close()
        self._space.depart(self.group)
        self._space.leave()


def _open(node: Path, function: Function) -> int:
    with translate_errno(lambda code: node_refused(code, node, function)):
        return retry(lambda: os.open(node, os.O_RDWR | os.O_CLOEXEC), errno.EBUSY)


def open_container(function: Function, dev: Path = Path("/dev"), kind: type[GroupSpace] = GroupSpace) -> GroupSpace:
    """A new, empty container. Raises SetupError, AccessDenied."""
    node = dev / "vfio" / "vfio"
    return container_of(function, _open(node, function), str(node), kind)


def container_of(function: Function, fd: int, what: str, kind: type[GroupSpace] = GroupSpace) -> GroupSpace:
    """The space over a container's descriptor, which it owns. ``what`` it is called where it cannot be used.

    The descriptor may be an iommufd's: /dev/vfio/vfio is where the kernel has CONFIG_IOMMUFD_VFIO_CONTAINER, and
    /dev/iommu takes the same requests.
    """
    container = Descriptor(fd, "VFIO container")
    try:
        with translate_errno(lambda code: node_refused(code, Path(what), function)):
            version = vfio.api_version(container.fileno())
            if version != 0 or not vfio.check_extension(container.fileno(), kind.kind):
                name = "type1v2 IOMMU" if kind is GroupSpace else "mode without an IOMMU"
                why = f"the kernel's VFIO (API version {version}) has no {name}"
                hint = "sudo modprobe vfio_iommu_type1; or use iommu=iommufd"
                raise SetupError(f"use {what}", device=str(function.address), why=why, hint=hint)
            by_iommufd = _is_iommufd(container.fileno())
    except BaseException:
        container.close()
        raise
    named = "iommufd's container" if by_iommufd else "container"
    return kind(container, f"{named} of {function.address}", by_iommufd=by_iommufd)


def _is_iommufd(fd: int) -> bool:
    """Whether an iommufd answers a container's requests: VFIO's own container does not know this one."""
    try:
        iommufd.compat_ioas(fd)
    except OSError:
        return False
    return True


def open_group(
    function: Function,
    *,
    space: GroupSpace | None = None,
    dev: Path = Path("/dev"),
    vf_token: str | None = None,
    kind: type[GroupSpace] = GroupSpace,
) -> GroupDevice:
    """Open a function through its group; in the container of ``space`` where one is given.

    ``vf_token``: a UUID. The user of a physical function sets it so, those of its virtual functions show it.
    """
    with ExitStack() as undo:
        joined = open_container(function, dev, kind) if space is None else space
        joined.join()
        undo.callback(joined.leave)
        group = joined.enter(function, dev)
        undo.callback(joined.depart, group)
        bdf = str(function.address)
        spelled = bdf if vf_token is None else f"{bdf} vf_token={vf_token}"
        with translate_errno(lambda code: open_refused(code, function)):
            fd = retry(lambda: vfio.group_device_fd(group.fileno(), spelled), errno.EBUSY)
        device = Descriptor(fd, bdf)
        undo.callback(device.close)
        opened = GroupDevice(function, device, joined, group)
        undo.pop_all()
        return opened
