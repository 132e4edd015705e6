# SPDX-License-Identifier: Apache-2.0
"""A window that answers from a recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from vfio_ims.errors import UsageError
from vfio_ims.lifetime import Owner
from vfio_ims.ports.single_accesses import SingleAccesses
from vfio_ims.tracing.windows import table_stores

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

    from vfio_ims.ports.values import RegionInfo
    from vfio_ims.tracing.format import Event
    from vfio_ims.tracing.names import RegisterNames
    from vfio_ims.tracing.script import Script

__all__ = ["ReplayWindow"]


class ReplayWindow(SingleAccesses, Owner):
    """``Window`` over ``script``. ``symbols`` finds the buffer that an address is in."""

    def __init__(
        self,
        info: RegionInfo,
        script: Script,
        names: RegisterNames,
        symbols: Callable[[int], str | None],
        label: str,
        parent: Owner,
    ) -> None:
        self._info, self._script, self._names, self._symbols = info, script, names, symbols
        super().__init__(label, parent)

    @property
    def size(self) -> int:
        return self._info.size

    def mapped(self, offset: int, size: int) -> bool:
        return bool(self._script.answer("mapped", [self._info.index, offset, size])["answer"])

    # --- single accesses ----------------------------------------------------------------------------------------------

    def _take(self, kind: str, offset: int, width: int, **content: Any) -> Event:
        if offset < 0 or offset + width > self.size or offset % min(width, 8):
            self._refuse(offset, width)
        self.check_open(f"access offset {offset:#x}")
        event: Event = {"k": kind, "region": self._info.index, "offset": f"{offset:#x}"}
        if width <= 8:
            event["width"] = width
            found = self._names.describe(self._info.index, offset, width, 0, False)
            event |= {"name": found["name"]} if found else {}
        return self._script.take(event | content)

    def _refuse(self, offset: int, width: int) -> NoReturn:
        why = f"offset must be a multiple of {width} in {self.size:#x} bytes, not {offset:#x}"
        raise UsageError(f"access {width} bytes", device=self.label, why=why)

    def _load(self, offset: int, width: int) -> int:
        return int(self._take("r", offset, width)["value"], 16)

    def _store(self, offset: int, width: int, value: int) -> None:
        if not 0 <= value < 1 << 8 * width:
            why = f"value must be {8 * width} bits, not {value:#x}"
            raise UsageError(f"write at {offset:#x}", device=self.label, why=why)
        symbol = self._symbols(value) if width == 8 and value > 0xFFF else None
        self._take("w", offset, width, value=f"{value:#x}", **({"sym": symbol} if symbol else {}))

    # --- many ---------------------------------------------------------------------------------------------------------

    def read_block(self, offset: int, count: int, width: int = 4) -> bytes:
        return bytes.fromhex(self._take("rb", offset, width, count=count)["data"])

    def write_block(self, offset: int, data: Buffer, width: int = 4) -> None:
        self._take("wb", offset, width, data=bytes(memoryview(data).cast("B")).hex())

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        found = self._take("poll", offset, width, mask=f"{mask:#x}", expected=f"{expected:#x}")
        return int(found["value"], 16)

    def write_table(
        self, offset: int, stride: int, indices: Buffer, steps: Sequence[tuple[int, int]], words: Buffer
    ) -> None:
        self._take("wt", offset, 4, stores=table_stores(offset, stride, indices, steps, words))

    def read_table(self, offset: int, stride: int, indices: Buffer) -> bytes:
        rows = list(memoryview(indices).cast("B").cast("I"))
        return bytes.fromhex(self._take("rt", offset, 4, stride=stride, rows=rows)["data"])

    def store64(self, offset: int, data: Buffer, *, pieces: bool = False) -> None:
        self.store64_many(offset, data, 1, pieces=pieces)

    def store64_many(
        self, offset: int, data: Buffer, count: int, *, stride: int = 64, span: int = 4096, pieces: bool = False
    ) -> None:
        self._take("s64", offset, 64, count=count, **self._portal(data))

    def store_rows(self, offset: int, pattern: bytes, count: int, *arguments: Any, **named: Any) -> int:
        """What a mapped window does in one compiled call; the rows themselves are in no recording."""
        return int(self._take("rows", offset, 64, count=count, data=pattern.hex())["value"], 16)

    def enqueue64(self, offset: int, data: Buffer) -> bool:
        return bool(self._take("enq", offset, 64, **self._portal(data))["taken"])

    def _portal(self, data: Buffer) -> dict[str, Any]:
        raw = bytes(memoryview(data).cast("B"))
        words = memoryview(raw[: len(raw) // 8 * 8]).cast("Q")
        found = {str(8 * at): name for at, word in enumerate(words) if word > 0xFFF and (name := self._symbols(word))}
        return {"data": raw.hex()} | ({"syms": found} if found else {})

    def __del__(self) -> None:
        """Nothing to give back, so nothing to warn of."""
