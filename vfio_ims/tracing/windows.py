# SPDX-License-Identifier: Apache-2.0
"""A window that records what goes through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.ports.covering_window import CoveringWindow

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

    from vfio_ims.ports.window import Window
    from vfio_ims.tracing.recorder import Recorder

__all__ = ["RecordingWindow", "table_stores"]


def table_stores(
    offset: int, stride: int, indices: Buffer, steps: Sequence[tuple[int, int]], words: Buffer
) -> list[list[int]]:
    """The stores of ``write_table`` in order: offset and value of each."""
    rows, cells = memoryview(indices).cast("B").cast("I"), memoryview(words).cast("B").cast("I")
    per_row = len(cells) // len(rows) if len(rows) else 0
    return [
        [offset + index * stride + at, cells[row * per_row + source]]
        for row, index in enumerate(rows)
        for at, source in steps
    ]


def _hex(value: object) -> str:
    return f"{value:#x}" if isinstance(value, int) else repr(value)


class RecordingWindow(CoveringWindow):
    """``Window`` around another one, of region ``region``."""

    def __init__(self, inner: Window, region: int, recorder: Recorder) -> None:
        super().__init__(inner, region)
        self._recorder = recorder

    # --- single accesses ----------------------------------------------------------------------------------------------

    def _load(self, read: Callable[[int], int], offset: int, width: int) -> int:
        recorder = self._recorder
        began = recorder.begin()
        try:
            value = read(offset)
        except Exception as error:
            self._failed(began, error, "r", offset, width=width)
            raise
        recorder.access(began, "r", self._region, offset, width, value)
        return value

    def _store(self, write: Callable[[int, int], None], offset: int, width: int, value: int) -> None:
        recorder = self._recorder
        began = recorder.begin()
        try:
            write(offset, value)
        except Exception as error:
            self._failed(began, error, "w", offset, width=width, value=_hex(value))
            raise
        recorder.access(began, "w", self._region, offset, width, value)

    def _failed(self, began: int, error: Exception, kind: str, offset: object, **content: Any) -> None:
        self._recorder.failed(began, error, kind, region=self._region, offset=_hex(offset), **content)

    # --- many ---------------------------------------------------------------------------------------------------------

    def _call(self, kind: str, offset: int, width: int, call: Callable[[], Any], **content: Any) -> Any:
        recorder = self._recorder
        began = recorder.begin()
        content = {"region": self._region, "offset": f"{offset:#x}"} | content
        if width in (1, 2, 4, 8):
            content |= {"width": width} | recorder.name(self._region, offset, width)
        try:
            answer = call()
        except Exception as error:
            recorder.failed(began, error, kind, **content)
            raise
        if isinstance(answer, bytes):
            content["data"] = answer.hex()
        elif isinstance(answer, bool):
            content["taken"] = answer
        elif answer is not None:
            content["value"] = f"{answer:#x}"
        recorder.end(began, kind, **content)
        return answer

    def read_block(self, offset: int, count: int, width: int = 4) -> bytes:
        call = lambda: self._inner.read_block(offset, count, width)  # noqa: E731
        found: bytes = self._call("rb", offset, width, call, count=count)
        return found

    def write_block(self, offset: int, data: Buffer, width: int = 4) -> None:
        raw = bytes(memoryview(data).cast("B"))
        self._call("wb", offset, width, lambda: self._inner.write_block(offset, raw, width), data=raw.hex())

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        call = lambda: self._inner.poll(offset, width, mask, expected, timeout)  # noqa: E731
        value: int = self._call("poll", offset, width, call, mask=f"{mask:#x}", expected=f"{expected:#x}")
        return value

    def write_table(
        self, offset: int, stride: int, indices: Buffer, steps: Sequence[tuple[int, int]], words: Buffer
    ) -> None:
        stores = table_stores(offset, stride, indices, steps, words)
        call = lambda: self._inner.write_table(offset, stride, indices, steps, words)  # noqa: E731
        slots = self._recorder.slots(self._region, stores)
        self._call("wt", offset, 4, call, stores=stores, **slots)

    def read_table(self, offset: int, stride: int, indices: Buffer) -> bytes:
        rows = list(memoryview(indices).cast("B").cast("I"))
        call = lambda: self._inner.read_table(offset, stride, indices)  # noqa: E731
        found: bytes = self._call("rt", offset, 4, call, stride=stride, rows=rows)
        return found

    def _portal(self, data: Buffer) -> dict[str, Any]:
        """The data, and which of its 64-bit words are addresses in which buffer."""
        raw = bytes(memoryview(data).cast("B"))
        words = memoryview(raw[: len(raw) // 8 * 8]).cast("Q")
        found = {str(8 * at): name for at, word in enumerate(words) if word > 0xFFF and (name := self._symbol(word))}
        return {"data": raw.hex()} | ({"syms": found} if found else {})

    def _symbol(self, word: int) -> str | None:
        return self._recorder.symbol(word)

    def store64(self, offset: int, data: Buffer, *, pieces: bool = False) -> None:
        self.store64_many(offset, data, 1, pieces=pieces)

    def store64_many(
        self, offset: int, data: Buffer, count: int, *, stride: int = 64, span: int = 4096, pieces: bool = False
    ) -> None:
        call = lambda: self._inner.store64_many(offset, data, count, stride=stride, span=span, pieces=pieces)  # noqa: E731
        self._call("s64", offset, 64, call, count=count, **self._portal(data))

    def store_rows(self, offset: int, pattern: bytes, count: int, columns: Any, *arguments: Any, **named: Any) -> int:
        """Of a mapped window: many descriptors in one compiled call. The rows themselves are not recorded."""
        inner: Any = self._inner
        call = lambda: inner.store_rows(offset, pattern, count, columns, *arguments, **named)  # noqa: E731
        stored: int = self._call("rows", offset, 64, call, count=count, data=pattern.hex())
        return stored

    def enqueue64(self, offset: int, data: Buffer) -> bool:
        taken: bool = self._call("enq", offset, 64, lambda: self._inner.enqueue64(offset, data), **self._portal(data))
        return taken

    def mapped(self, offset: int, size: int) -> bool:
        began, found = self._recorder.begin(), self._inner.mapped(offset, size)
        self._recorder.end(began, "ask", what="mapped", of=[self._region, offset, size], answer=found)
        return found
