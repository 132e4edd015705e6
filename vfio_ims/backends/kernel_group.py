# SPDX-License-Identifier: Apache-2.0
"""VFIO by group and container: /dev/vfio/N and /dev/vfio/vfio, with the type1v2 IOMMU. Never the no-IOMMU mode."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from vfio_ims.backends.kernel_access import in_words, patiently
from vfio_ims.backends.kernel_device import KernelDevice
from vfio_ims.backends.kernel_refusals import attach_refused, group_refused, node_refused, open_refused
from vfio_ims.backends.kernel_space import Type1Space
from vfio_ims.errors import SetupError
from vfio_ims.native import vfio
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.sysfs import Function

__all__ = ["GroupDevice", "GroupSpace", "open_group"]

_VIABLE = 1
_TYPE1V2 = 3


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
    """A container with the groups that are in it."""

    def __init__(self, container: Descriptor, name: str) -> None:
        super().__init__(container, name)
        self._groups: dict[int, Group] = {}

    def enter(self, function: Function, dev: Path) -> Group:
        """The function's group, in this container; ``depart`` gives it back."""
        assert function.iommu_group is not None
        number = function.iommu_group.number
        with self._lock:
            self.check_open("attach a group")
            if number not in self._groups:
                self._groups[number] = self._take(function, number, dev / "vfio" / str(number))
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

    def depart(self, group: Group) -> None:
        """One device less; the last one takes the group out of the container."""
        with self._lock:
            group.devices -= 1
            if not group.devices:
                del self._groups[group.number]
                group.close()

    def _take(self, function: Function, number: int, node: Path) -> Group:
        group = Group(_open(node, function), number)
        step = "read the group's status"
        try:
            with in_words(lambda code: attach_refused(code, "type1", function, step)):
                if not vfio.group_status(group.fileno()) & _VIABLE:
                    raise group_refused(function)
                step = "put the group into a container"
                vfio.group_set_container(group.fileno(), self.container.fileno())
                group.contained = True
                step = "choose the type1 IOMMU"
                self.prepare()
        except BaseException:
            group.close()
            raise
        return group


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
    with in_words(lambda code: node_refused(code, node, function)):
        return patiently(lambda: os.open(node, os.O_RDWR | os.O_CLOEXEC), errno.EBUSY)


def _container(function: Function, dev: Path) -> GroupSpace:
    node = dev / "vfio" / "vfio"
    container = Descriptor(_open(node, function), "VFIO container")
    try:
        with in_words(lambda code: node_refused(code, node, function)):
            version = vfio.api_version(container.fileno())
            if version != 0 or not vfio.check_extension(container.fileno(), _TYPE1V2):
                why = f"the kernel's VFIO (API version {version}) has no type1v2 IOMMU"
                hint = "sudo modprobe vfio_iommu_type1; or use iommu=iommufd"
                raise SetupError(f"use {node}", device=str(function.address), why=why, hint=hint)
    except BaseException:
        container.close()
        raise
    return GroupSpace(container, f"container of {function.address}")


def open_group(
    function: Function, *, space: GroupSpace | None = None, dev: Path = Path("/dev"), vf_token: str | None = None
) -> GroupDevice:
    """Open a function through its group; in the container of ``space`` where one is given.

    ``vf_token``: a UUID. The user of a physical function sets it so, those of its virtual functions show it.
    """
    with ExitStack() as undo:
        joined = _container(function, dev) if space is None else space
        joined.join()
        undo.callback(joined.leave)
        group = joined.enter(function, dev)
        undo.callback(joined.depart, group)
        bdf = str(function.address)
        spelled = bdf if vf_token is None else f"{bdf} vf_token={vf_token}"
        with in_words(lambda code: open_refused(code, function)):
            fd = patiently(lambda: vfio.group_device_fd(group.fileno(), spelled), errno.EBUSY)
        device = Descriptor(fd, bdf)
        undo.callback(device.close)
        opened = GroupDevice(function, device, joined, group)
        undo.pop_all()
        return opened
