# SPDX-License-Identifier: Apache-2.0
"""An address space that answers from a recording, and whose memory gets what devices wrote then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vfio_ims.errors import UnsupportedError
from vfio_ims.tracing.memory import Buffers
from vfio_ims.tracing.values import answer_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vfio_ims.ports.device import DevicePort
    from vfio_ims.ports.values import IovaRange
    from vfio_ims.tracing.format import Event
    from vfio_ims.tracing.script import Script

__all__ = ["ReplaySpace"]


class ReplaySpace:
    """``AddressSpacePort`` number ``number`` of a recording. Ranges are those of then, so that IOVAs are as well."""

    def __init__(self, header: Event, script: Script, number: int, numbers: Iterator[int]) -> None:
        self._header, self._script, self.number = header, script, number
        self.buffers = Buffers(numbers, contents=False)
        self._of = {"space": number} if number else {}

    @property
    def name(self) -> str:
        return str(self._header["name"])

    @property
    def translates(self) -> bool:
        return bool(self._header["translates"])

    def ranges(self) -> tuple[IovaRange, ...]:
        found: tuple[IovaRange, ...] = answer_from({"ranges": self._header["ranges"]})
        return found

    def page_sizes(self) -> int:
        return int(self._header["page_sizes"])

    def _take(self, kind: str, **content: Any) -> Event:
        return self._script.take({"k": kind} | content | self._of)

    def map(
        self,
        iova: int,
        address: int,
        size: int,
        *,
        read: bool = True,
        write: bool = True,
        fd: int = -1,
        offset: int = 0,
    ) -> None:
        self._take("map", iova=f"{iova:#x}", size=size, read=read, write=write)
        self.buffers.add(iova, size, address if write else 0)

    def map_file(self, iova: int, fd: int, offset: int, size: int, *, read: bool = True, write: bool = True) -> None:
        raise UnsupportedError("map a dma-buf", device=self.name, why="a recording has none")

    def map_region(
        self,
        iova: int,
        peer: DevicePort,
        index: int,
        offset: int,
        size: int,
        *,
        read: bool = True,
        write: bool = True,
    ) -> None:
        raise UnsupportedError("map a BAR", device=self.name, why="a recording is of one device")

    def unmap(self, iova: int, size: int) -> int:
        gone = self.buffers.within(iova, size)
        self._take("unmap", iova=f"{iova:#x}", size=size)
        for one in gone:
            self.buffers.remove(one)
        return sum(one.size for one in gone)

    def contiguous(self, size: int) -> int | None:
        return None

    def pin(self, address: int, size: int, *, read: bool = True, write: bool = True) -> int:
        place = int(self._take("pin", size=size)["value"], 16)
        self.buffers.add(place, size, address)
        return place

    def unmap_all(self) -> int:
        self._take("unmap_all")
        gone = list(self.buffers)
        for one in gone:
            self.buffers.remove(one)
        return sum(one.size for one in gone)

    def close(self) -> None:
        """Nothing of its own."""
