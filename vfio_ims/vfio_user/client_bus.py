# SPDX-License-Identifier: Apache-2.0
"""The way out of a served model: the client's memory where it gave a file, messages elsewhere, eventfds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import BusFault, RemovedError
from vfio_ims.native.access import MemoryGone

if TYPE_CHECKING:
    from vfio_ims.vfio_user.dma import ClientMemory
    from vfio_ims.vfio_user.irqs import IrqTable
    from vfio_ims.vfio_user.server_requests import Requests

__all__ = ["ServerBus"]

# The interrupt address range of x86 (Intel SDM vol. 3, "Message Address Register Format"). It wins over a window.
_MESSAGES = range(0xFEE0_0000, 0xFEF0_0000)

_GONE = "the client's file was cut, or its file system has no room"


class ServerBus:
    """Satisfies ``Bus``. It outlives clients; without one everything faults and interrupts go nowhere.

    vfio-user's messages carry no PASID: a request tagged with one goes the function's own way.
    """

    def __init__(self) -> None:
        self._client: tuple[ClientMemory, IrqTable, Requests] | None = None

    def connect(self, memory: ClientMemory, irqs: IrqTable, requests: Requests) -> None:
        self._client = memory, irqs, requests

    def disconnect(self) -> None:
        self._client = None

    def read(self, iova: int, size: int, pasid: int | None = None) -> bytes:
        memory, _, requests = self._parts(iova, size, write=False)
        pieces = memory.pieces(iova, size, write=False)
        try:
            return b"".join(
                requests.read(piece.iova, piece.size) if piece.file is None else piece.read() for piece in pieces
            )
        except MemoryGone:
            raise BusFault(iova, size, write=False, why=_GONE) from None

    def write(self, iova: int, data: bytes, pasid: int | None = None) -> None:
        memory, _, requests = self._parts(iova, len(data), write=True)
        try:
            if len(data) == 4 and (iova in _MESSAGES or not memory.holds(iova, 4)):
                requests.write(iova, data)  # the client's platform decides what it is: an ARM doorbell, a fault
                return
            pieces = memory.pieces(iova, len(data), write=True)
            for piece in pieces:
                at = piece.iova - iova
                if piece.file is None:
                    requests.write(piece.iova, data[at : at + piece.size])
                else:
                    piece.write(data[at : at + piece.size])
        except RemovedError as error:
            raise BusFault(iova, len(data), write=True, why=error.why) from error
        except MemoryGone:
            raise BusFault(iova, len(data), write=True, why=_GONE) from None

    def views(self, iova: int, size: int, *, write: bool, pasid: int | None = None) -> list[memoryview]:
        memory, _, _ = self._parts(iova, size, write=write)
        views = [piece.view for piece in memory.pieces(iova, size, write=write)]
        found = [view if write else view.toreadonly() for view in views if view is not None]
        if len(found) != len(views):
            why = "memory without a file, or whose file can be cut, has no view: read or write it"
            raise BusFault(iova, size, write=write, why=why)
        return found

    def allows(self, iova: int, size: int, *, write: bool, pasid: int | None = None) -> bool:
        try:
            self._parts(iova, size, write=write)[0].pieces(iova, size, write=write)
        except BusFault:
            return False
        return True

    def interrupt(self, index: int, vector: int) -> None:
        client = self._client
        if client is not None:
            _, irqs, requests = client
            try:
                requests.flush()  # what was written before is there before
            except RemovedError:
                return
            irqs.trigger(index, vector)

    def _parts(self, iova: int, size: int, *, write: bool) -> tuple[ClientMemory, IrqTable, Requests]:
        client = self._client
        if client is None:
            raise BusFault(iova, size, write=write, why="no client is connected")
        return client
