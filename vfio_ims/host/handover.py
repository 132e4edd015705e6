# SPDX-License-Identifier: Apache-2.0
"""Handing an open device to another process, over a UNIX socket: that one then uses it without any privilege.

What travels are descriptors: the device's, those of its address space and group, and the lock that says whose it is.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from contextlib import ExitStack, suppress
from typing import Any

from vfio_ims.backends.kernel.cdev import CdevDevice
from vfio_ims.backends.kernel.claim import Claim
from vfio_ims.backends.kernel.device import KernelDevice
from vfio_ims.backends.kernel.group import Group, GroupDevice, GroupSpace
from vfio_ims.backends.kernel.ioas import IoasSpace, Iommufd
from vfio_ims.device import Device
from vfio_ims.errors import AccessDenied, SetupError, UsageError, VfioImsError
from vfio_ims.native import iommufd, vfio
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.pci import PciAddress
from vfio_ims.sysfs import Function

__all__ = ["hand_over", "take_over"]

_MOST = 4096
_MOST_DESCRIPTORS = 4
_TAKEN = b"taken"


def hand_over(device: Device, connection: socket.socket, *, uid: int | None = None, timeout: float = 10.0) -> None:
    """Give ``device`` to the process at the other end of ``connection``, which calls ``take_over``.

    Everything of the device that is open here is closed first: interrupts, memory. It is quiet (no bus mastering), and
    is not reset. When this returns it is closed here. Where it fails the device stays ours, quiet. ``uid``: the only
    user who may have it. Raises UsageError for a device that is not behind the kernel's VFIO, AccessDenied, SetupError.
    """
    operation = "hand the device over"
    device.check_open(operation)
    port = device.port
    if not isinstance(port, KernelDevice):
        why = f"only a device behind the kernel's VFIO has descriptors to give, and this is on mount {device.mount}"
        raise UsageError(operation, device=device.name, why=why)
    if not port.space.translates:
        why = "without an IOMMU the other process could write any memory, and only a privileged one may open it"
        raise UsageError(operation, device=device.name, why=why, hint=f"have it open {device.name},iommu=none itself")
    peer = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid is not None and peer[1] != uid:
        why = f"process {peer[0]} at the other end is of user {peer[1]}, and the device is for user {uid}"
        raise AccessDenied(operation, device=device.name, why=why)
    device.close_children()
    device.config.bus_master = False
    header, descriptors = _describe(port)
    connection.settimeout(timeout)
    try:
        socket.send_fds(connection, [json.dumps(header).encode() + b"\n"], descriptors)
        answer = connection.recv(_MOST)
    except OSError as error:
        why = f"process {peer[0]} at the other end does not answer"
        raise SetupError(operation, device=device.name, why=why, errno=error.errno) from error
    if answer != _TAKEN:
        reply = answer.decode(errors="replace") or "it closed the connection"
        raise SetupError(operation, device=device.name, why=f"process {peer[0]} did not take it: {reply}")
    # The device is in use elsewhere now: only our descriptors go, without a word to the device.
    port.close()
    with suppress(VfioImsError):
        device.close()


def _describe(port: KernelDevice) -> tuple[dict[str, Any], list[int]]:
    header: dict[str, Any] = {"device": port.name, "mount": port.mount, "claim": port.claim is not None}
    descriptors = [port.device.fileno()]
    space = port.space
    if isinstance(port, GroupDevice) and isinstance(space, GroupSpace):
        header["group"] = port.group.number
        descriptors += [port.group.fileno(), space.container.fileno()]
    elif isinstance(port, CdevDevice) and isinstance(space, IoasSpace):
        header |= {"id": port.id, "ioas": space.id}
        descriptors.append(space.iommu.fileno())
    if port.claim is not None:
        descriptors.append(port.claim.fileno())
    return header, descriptors


def take_over(connection: socket.socket, *, timeout: float = 10.0) -> Device:
    """Receive a device from a process that calls ``hand_over``; it is ours when this returns, with no interrupts.

    Needs no permission on any node. Raises SetupError where nothing, or nothing sensible, comes.
    """
    connection.settimeout(timeout)
    operation = "take a device over"
    try:
        data, descriptors, _, _ = socket.recv_fds(connection, _MOST, _MOST_DESCRIPTORS)
    except OSError as error:
        raise SetupError(operation, why="nothing came", errno=error.errno) from error
    with ExitStack() as undo:
        left = list(descriptors)
        undo.callback(_close_all, left)
        try:
            header = json.loads(data)
            port = _build(header, left)
        except (ValueError, KeyError, TypeError, IndexError, VfioImsError, OSError) as error:
            with suppress(OSError):
                connection.sendall(str(error).encode()[:_MOST] or b"it made no sense")
            why = str(error) if data else "the other end closed the connection"
            raise SetupError(operation, why=why) from error
        try:
            device = Device(port)
            connection.sendall(_TAKEN)
        except BaseException:
            port.close()
            raise
        return device


def _close_all(descriptors: list[int]) -> None:
    for number in descriptors:
        os.close(number)


def _build(header: dict[str, Any], left: list[int]) -> KernelDevice:
    """The port over the received descriptors, which are taken out of ``left`` as they find an owner."""
    name = str(PciAddress.parse(header["device"]))
    function = Function(PciAddress.parse(name))
    with ExitStack() as undo:
        device = Descriptor(left.pop(0), name)
        undo.callback(device.close)
        port: KernelDevice
        if header["mount"] == "group":
            group = Group(left.pop(0), int(header["group"]))
            undo.callback(group.close)
            space = GroupSpace(Descriptor(left.pop(0), "VFIO container"), f"container of {name}")
            undo.callback(space.close)
            space.adopt(group)
            undo.callback(space.leave)
            undo.callback(space.depart, group)
            port = GroupDevice(function, device, space, group)
        else:
            ioas = IoasSpace(Iommufd(left.pop(0), "iommufd"), f"address space of {name}")
            undo.callback(ioas.close)
            # Ours takes the place of the other process's, whose memory was in it.
            vfio.attach_pt(device.fileno(), ioas.id)
            with suppress(OSError):
                iommufd.destroy(ioas.iommu.fileno(), int(header["ioas"]))
            ioas.join()
            undo.callback(ioas.leave)
            port = CdevDevice(function, device, ioas, int(header["id"]))
        undo.pop_all()
    if header["claim"]:
        port.claim = Claim(left.pop(0), name)
    return port
