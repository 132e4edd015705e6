# SPDX-License-Identifier: Apache-2.0
"""A client's memory, mapped for a function that this process has opened: each DMA map becomes one of the port's."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from vfio_ims.errors import VfioImsError
from vfio_ims.native.shared_file import SharedFile
from vfio_ims.vfio_user.dma import ClientMemory
from vfio_ims.vfio_user.messages import DmaFlags
from vfio_ims.vfio_user.windows import Window
from vfio_ims.vfio_user.wire import Refused

if TYPE_CHECKING:
    from vfio_ims.ports.address_space import AddressSpacePort

__all__ = ["ExportedMemory"]

log = logging.getLogger(__name__)


class ExportedMemory(ClientMemory):
    """``space`` is the function's own, and holds this client's windows only.

    ``sealed``: the device is software of this process, which a file that is cut would kill: such a file is refused.
    A window without a file is taken, and the device does not see it: QEMU maps a machine's ROMs so.
    """

    def __init__(self, space: AddressSpacePort, *, sealed: bool) -> None:
        super().__init__()
        self._space, self._sealed = space, sealed
        self._mapped: set[int] = set()

    def _reach(self, window: Window, file: SharedFile | None, fd: int) -> None:
        where = f"{window.size:#x} bytes at {window.start:#x}"
        if file is None:
            log.warning("%s: the client shares no file of %s: the device cannot reach them", self._space.name, where)
            return
        if self._sealed and not file.sealed:
            raise Refused(errno.EACCES, f"the file of {where} must be sealed against shrinking (F_SEAL_SHRINK)")
        rights = {"read": bool(window.tag & DmaFlags.READ), "write": bool(window.tag & DmaFlags.WRITE)}
        address = file.address + window.offset
        try:
            self._space.map(window.start, address, window.size, fd=fd, offset=window.offset, **rights)
        except VfioImsError as error:
            raise Refused(error.errno or errno.EINVAL, str(error)) from error
        self._mapped.add(window.start)

    def _leave(self, window: Window) -> None:
        if window.start not in self._mapped:
            return
        self._mapped.discard(window.start)
        try:
            self._space.unmap(window.start, window.size)
        except VfioImsError as error:  # the function is gone, and with it its use of the memory
            log.warning("%s: %s", self._space.name, error)

    def clear(self) -> None:
        """Take every window back, first from the device."""
        self._mapped.clear()
        try:
            self._space.unmap_all()
        except VfioImsError as error:
            log.warning("%s: %s", self._space.name, error)
        super().clear()
