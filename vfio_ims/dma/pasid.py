# SPDX-License-Identifier: Apache-2.0
"""The address space of one PASID of a device: requests that carry the tag are translated by it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from vfio_ims.dma.space import AddressSpace
from vfio_ims.lifetime import Owner

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort

__all__ = ["PasidSpace"]


class PasidSpace(Owner):
    """``space`` is what ``pasid`` reaches: one of its own, or one that was given (the device's own, another PASID's).

    Closing detaches the PASID, and closes the space if it was made here. Interrupt messages never carry a PASID: this
    is about memory.
    """

    def __init__(self, port: DevicePort, owner: Owner, pasid: int, space: AddressSpace | None = None) -> None:
        self._port, self._owner, self.pasid = port, owner, pasid
        with ExitStack() as made:
            if space is None:
                inner = port.new_space()
                made.callback(inner.close)
                space = AddressSpace(inner, f"{port.name} PASID {pasid}")
                made.callback(space.close)
            port.attach_pasid(pasid, space.port)
            self.space, self._own = space, made.pop_all()
        super().__init__(f"{port.name} PASID {pasid}", owner)

    def _release(self) -> None:
        try:
            self._port.detach_pasid(self.pasid)
        finally:
            self._own.close()
