# SPDX-License-Identifier: Apache-2.0
"""VFIO by a function's own node: /dev/vfio/devices/vfioN, bound to an iommufd (/dev/iommu). Linux 6.6; PASIDs 6.15."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import UUID

from vfio_ims.backends.kernel.access import retry, translate_errno
from vfio_ims.backends.kernel.device import KernelDevice
from vfio_ims.backends.kernel.ioas import IoasSpace, Iommufd
from vfio_ims.backends.kernel.pasid_refusals import pasids_refused
from vfio_ims.backends.kernel.refusals import attach_refused, bind_refused, node_refused
from vfio_ims.errors import DeviceBusy, SetupError, UsageError, VfioImsError
from vfio_ims.native import iommufd, vfio
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.ports.address_space import AddressSpacePort
from vfio_ims.sysfs import Function

__all__ = ["CdevDevice", "node_of", "open_cdev"]


def node_of(function: Function, dev: Path = Path("/dev")) -> Path | None:
    """The function's own node, or None where the kernel makes none."""
    return dev / "vfio" / "devices" / function.vfio_cdev if function.vfio_cdev else None


class CdevDevice(KernelDevice):
    """A function opened through its own node. ``id`` is what the iommufd calls it."""

    mount = "cdev"
    _space: IoasSpace

    def __init__(self, function: Function, device: Descriptor, space: IoasSpace, device_id: int) -> None:
        self.id = device_id
        self._pasids: dict[int, IoasSpace] = {}
        self._tables: dict[int, int] = {}  # IOAS to a page table of this device that PASIDs may use
        super().__init__(function, device, space)

    def pasid_bits(self) -> int:
        """How wide its PASIDs may be; 0: kernel, IOMMU or function can use none.

        Attaching one would succeed even so, and do nothing: only IOMMU_GET_HW_INFO shows it. Not 0 is no promise:
        Linux 7.3 gives the width of AMD-Vi, and attaches none there (pasid_refusals.py).
        """
        self.check_open("read the IOMMU's information")
        try:
            return iommufd.hw_info(self._space.iommu.fileno(), self.id).max_pasid_log2
        except OSError:  # a kernel before 6.7 does not know the request
            return 0

    def new_space(self) -> IoasSpace:
        """An empty address space beside the device's own, for ``attach_pasid``. The caller closes it."""
        return self._space.another(f"second address space of {self.label}")

    def attach_pasid(self, pasid: int, space: AddressSpacePort) -> None:
        """Raises UnsupportedError where a PASID would do nothing; DeviceBusy for one that is attached."""
        operation = f"attach PASID {pasid}"
        self.check_open(operation)
        bits = self.pasid_bits()
        if not bits:
            raise pasids_refused(self.function, operation)
        if not 0 < pasid < 1 << bits:
            why = f"the PASID must be 1..{(1 << bits) - 1:#x}, not {pasid!r}"
            raise UsageError(operation, device=self.label, why=why)
        if not isinstance(space, IoasSpace) or space.iommu is not self._space.iommu:
            why = "the address space is not on this device's iommufd"
            raise UsageError(operation, device=self.label, why=why, hint="make it with the device's new_space()")
        with self._lock:
            if pasid in self._pasids:
                raise DeviceBusy(operation, device=self.label, why="it is attached already", hint="detach it first")
            with ExitStack() as undo, translate_errno(lambda code: self._no_pasid(code, operation)):
                space.tag(self, pasid, lambda: self.detach_pasid(pasid))
                undo.callback(space.untag, self, pasid)
                self._table(self._space, operation, undo)
                vfio.attach_pt(self.device.fileno(), self._table(space, operation, undo), pasid)
                undo.pop_all()
            self._pasids[pasid] = space

    def _no_pasid(self, code: int, operation: str) -> VfioImsError:
        if code == errno.EOPNOTSUPP:
            return pasids_refused(self.function, operation, code)
        return attach_refused(code, "iommufd", self.function, operation)

    def _table(self, space: IoasSpace, operation: str, undo: ExitStack) -> int:
        """A page table over ``space`` that PASIDs may use. The function itself must be on such a one, too."""
        if space.id not in self._tables:
            try:
                made = iommufd.hwpt_alloc(self._space.iommu.fileno(), self.id, space.id, pasid=True)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL):
                    raise
                raise pasids_refused(self.function, operation, error.errno) from error
            self._tables[space.id] = made
            undo.callback(self._drop_table, space)
            if space is self._space:
                vfio.attach_pt(self.device.fileno(), made)  # replaces what is attached, with the same mappings
        return self._tables[space.id]

    def _drop_table(self, space: IoasSpace) -> None:
        """As before the table was made: the function itself goes back to a page table of the kernel's choice."""
        if space is self._space:
            with suppress(OSError):
                vfio.attach_pt(self.device.fileno(), space.id)
        self._destroy(self._tables.pop(space.id))

    def detach_pasid(self, pasid: int) -> None:
        operation = f"detach PASID {pasid}"
        self.check_open(operation)
        with self._lock:
            space = self._pasids.get(pasid)
            if space is None:
                raise UsageError(operation, device=self.label, why="it is not attached")
            self._ask(operation, vfio.detach_pt, pasid)
            del self._pasids[pasid]
            if space is not self._space and space not in self._pasids.values():
                self._destroy(self._tables.pop(space.id))
            space.untag(self, pasid)

    def _destroy(self, table: int) -> None:
        with suppress(OSError):  # held by something of the device's: it goes with the iommufd
            iommufd.destroy(self._space.iommu.fileno(), table)

    def _release(self) -> None:
        self.device.close()  # detaches it and its PASIDs
        for table in self._tables.values():
            self._destroy(table)
        for pasid, space in self._pasids.items():
            space.untag(self, pasid)
        self._space.leave()


def _open(node: Path, function: Function) -> int:
    with translate_errno(lambda code: node_refused(code, node, function)):
        return retry(lambda: os.open(node, os.O_RDWR | os.O_CLOEXEC), errno.EBUSY)


def _space(function: Function, dev: Path, kind: type[IoasSpace]) -> IoasSpace:
    iommu = Iommufd(_open(dev / "iommu", function), "iommufd")
    with translate_errno(lambda code: node_refused(code, dev / "iommu", function)):
        return kind(iommu, f"address space of {function.address}")


def open_cdev(
    function: Function,
    *,
    space: IoasSpace | None = None,
    dev: Path = Path("/dev"),
    vf_token: str | None = None,
    kind: type[IoasSpace] = IoasSpace,
) -> CdevDevice:
    """Open a function through its own node, attached to ``space`` or to a new one.

    ``vf_token``: a UUID. The user of a physical function sets it so, those of its virtual functions show it; Linux
    6.17, on an older kernel UnsupportedError.
    """
    token = None if vf_token is None else UUID(vf_token).bytes
    node = node_of(function, dev)
    if node is None:
        why = "the kernel has made no node for it under /dev/vfio/devices (VFIO_DEVICE_CDEV, Linux 6.6)"
        raise SetupError("open", device=str(function.address), why=why, hint="use iommu=type1")
    with ExitStack() as undo:
        joined = _space(function, dev, kind) if space is None else space
        joined.join()
        undo.callback(joined.leave)
        device = Descriptor(_open(node, function), str(function.address))
        undo.callback(device.close)
        with translate_errno(lambda code: bind_refused(code, function, with_token=token is not None)):
            number = retry(lambda: vfio.bind_iommufd(device.fileno(), joined.iommu.fileno(), token), errno.EBUSY)
        with translate_errno(lambda code: attach_refused(code, "iommufd", function, "attach to the address space")):
            vfio.attach_pt(device.fileno(), joined.id)
        opened = CdevDevice(function, device, joined, number)
        undo.pop_all()
        return opened
