# SPDX-License-Identifier: Apache-2.0
"""A client's SET_IRQS, passed on: its eventfds become those of a function that this process has opened."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import VfioImsError
from vfio_ims.ports.values import IrqIndex, IrqInfo, IrqSet
from vfio_ims.vfio_user.irqs import IrqTable
from vfio_ims.vfio_user.messages import IRQ_SET
from vfio_ims.vfio_user.wire import Refused

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.vfio_user.removal_requests import RemovalRequests

__all__ = ["ExportedIrqs"]

log = logging.getLogger(__name__)


class ExportedIrqs(IrqTable):
    """One client's interrupts on ``port``, which takes a reference of its own to each eventfd."""

    def __init__(self, infos: Sequence[IrqInfo], port: DevicePort, requests: RemovalRequests) -> None:
        super().__init__(infos)
        self._port, self._requests = port, requests
        self._enabled: set[int] = set()

    def set(self, payload: bytes, fds: list[int]) -> None:
        flags, index, start, count = self._checked(payload, fds)
        if index == IrqIndex.REQ:
            self._set_request(flags, count, fds)
            return
        data: Sequence[int] = ()
        if flags & IrqSet.DATA_EVENTFD:
            data = self._descriptors(index, range(start, start + count), fds)
        elif flags & IrqSet.DATA_BOOL:
            data = list(payload[IRQ_SET.size :])
        try:
            self._port.set_irqs(index, flags, start, count, data)
        except VfioImsError as error:
            raise Refused(error.errno or errno.EINVAL, str(error)) from error
        if flags & IrqSet.ACTION_TRIGGER and not count:
            self._enabled.discard(index)
        elif flags & IrqSet.DATA_EVENTFD and max(data) >= 0:
            self._enabled.add(index)

    def _descriptors(self, index: int, vectors: range, fds: list[int]) -> list[int]:
        """What to attach for the client's ``fds``; -1 each where it gave none."""
        return list(fds) or [-1] * len(vectors)

    def _set_request(self, flags: int, count: int, fds: list[int]) -> None:
        """REQ's own eventfd is the server's, which passes the kernel's requests on."""
        if flags & IrqSet.DATA_EVENTFD or not count:
            self._requests.listen(fds.pop() if fds else -1)
        else:
            self._requests.signal()

    def close(self) -> None:
        """Disable what the client has enabled."""
        self._requests.listen(-1)
        for index in sorted(self._enabled):
            try:
                self._port.set_irqs(index, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)
            except VfioImsError as error:
                log.warning("%s: %s", self._port.name, error)
        self._enabled.clear()
