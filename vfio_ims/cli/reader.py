# SPDX-License-Identifier: Apache-2.0
"""A reader that leaves before the end, as ``head`` does: the verb goes on to its end, and its status is its own.

So ``vfio-ims doctor | head -1`` fails where the machine is not ready, and ``vfio-ims show DEVICE | head -1`` does not.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["reader_left", "reader_may_leave"]


class _Output(io.FileIO):
    """A descriptor of ours; what is written after its reader has left goes nowhere."""

    left = False

    def write(self, data: ReadableBuffer) -> int:
        if not self.left:
            try:
                return super().write(data)
            except BrokenPipeError:
                self.left = True
            except OSError:  # a full disk: raised once, and not again where what is left is flushed
                self.left = True
                raise
        return memoryview(data).nbytes


def _over(stream: TextIO) -> TextIO:
    """A stream onto the same descriptor, which outlives its reader."""
    stream.flush()
    raw = _Output(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=stream.isatty() or stream is sys.stderr
    )


def reader_left() -> bool:
    """Whether what is printed to stdout goes nowhere any more: a verb without an end ends then."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Output) and raw.left


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """While it lasts stdout and stderr are streams that outlive their readers, unless a program has its own there."""
    before = out, err = sys.stdout, sys.stderr
    if out is None or err is None or before != (sys.__stdout__, sys.__stderr__):
        yield
        return
    ours = _over(out), _over(err)
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in ours:
            stream.flush()
