# SPDX-License-Identifier: Apache-2.0
"""A piece of memory that the process and its devices share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError, VfioImsError
from vfio_ims.lifetime import Owner

if TYPE_CHECKING:
    from vfio_ims.dma.existing import Backing
    from vfio_ims.dma.space import AddressSpace

__all__ = ["Buffer", "free_unmapped"]

_STILL_MAPPED: list[tuple[object, object]] = []
"""Address spaces with memory that could not be unmapped: a device may write to it until the space itself is closed."""


def free_unmapped() -> None:
    """Let go of memory that could not be unmapped, where its address space is closed: with it, the mapping is gone."""
    _STILL_MAPPED[:] = [kept for kept in _STILL_MAPPED if not getattr(kept[0], "closed", False)]


class Buffer(Owner):
    """``size`` bytes at ``view`` for us and at ``iova`` for the devices of its address space.

    Closing takes the devices' access away first, then the memory; where views of it are still in use, in a traceback
    perhaps, it is freed with the last of them.
    """

    def __init__(self, space: AddressSpace, memory: Backing, iova: int, size: int) -> None:
        super().__init__(f"{space.label} buffer at {iova:#x}", space)
        self.space, self.iova, self.size, self._address = space, iova, size, memory.address
        self._memory, self.mapped = memory, memory.size
        self._withdrawn = False
        self._kept: object = None

    @property
    def view(self) -> memoryview:
        """The bytes, writable unless the memory is not; UsageError for a BAR or dma-buf.

        A memoryview's stores are not single accesses: for registers there are windows.
        """
        self.check_open("use a buffer")
        return self._memory.view[: self.size]

    @property
    def address(self) -> int:
        """Where the bytes are in this process; 0 for a BAR or dma-buf.

        It says so until the buffer is closed: who accesses the memory by it holds ``view`` as long.
        """
        self.check_open("use a buffer")
        return self._address

    def __len__(self) -> int:
        return self.size

    def holds(self, iova: int, size: int = 1) -> bool:
        """Whether the ``size`` bytes at ``iova`` all lie in this buffer."""
        return self.iova <= iova and iova + size <= self.iova + self.size

    def withdraw(self) -> None:
        """Close it after all of the space was unmapped. Its memory stays until this object is forgotten, too.

        A driver that still stores to addresses in it reaches no memory of another's.
        """
        self._withdrawn = True
        self.close()

    def _release(self) -> None:
        if self._withdrawn:
            self._kept = self._memory.abandon()
            return
        try:
            self.space.give_back(self)
        except VfioImsError:
            _STILL_MAPPED.append((self.space.port, self._memory.abandon()))
            raise
        try:
            self._memory.close()
        except UsageError:
            self._memory.abandon()

    def __repr__(self) -> str:
        return f"<Buffer {self.size:#x} bytes at IOVA {self.iova:#x}{', closed' if self.closed else ''}>"
