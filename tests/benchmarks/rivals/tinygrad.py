# SPDX-License-Identifier: Apache-2.0
"""How tinygrad drives GPUs from Python: our rendering of the ways that it published (2026).

A BAR is an object round a memoryview of the mapping, cast to words, indexed through ``__getitem__``. Commands are words
in a list, stored into the ring by one slice assignment of an ``array``, then write pointer and doorbell are written.
The one eventfd is polled, and read through a file object that is opened for that.
"""

from __future__ import annotations

import ctypes
from array import array
from typing import Any

__all__ = ["Queue", "Registers", "sleep"]


class Registers:
    """``size`` bytes at ``address``, as words of ``format``."""

    def __init__(self, address: int, size: int, format: str = "I") -> None:  # noqa: A002
        whole = (ctypes.c_uint8 * size).from_address(address)
        self.view = memoryview(whole).cast("B").cast(format)  # type: ignore[arg-type]

    def __getitem__(self, at: Any) -> Any:
        return self.view[at].tolist() if isinstance(at, slice) else self.view[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        self.view[at] = value


class Queue:
    """A ring of words at ``ring``, whose read pointer, write pointer and doorbell are 64-bit words at ``pointers``."""

    def __init__(self, ring: int, size: int, pointers: int) -> None:
        self._ring, self._size = Registers(ring, size), size
        self._pointers = Registers(pointers, 24, "Q")
        self.words: list[int] = []
        self.put = 0

    def forget(self) -> None:
        """As if everything had been done."""
        self._pointers[0] = self.put

    def q(self, *words: int) -> None:
        """Adds words of a command."""
        for word in words:
            self.words.append(word)

    def copy(self, record: int, source: int, destination: int, size: int, what: int) -> None:
        """A copy descriptor of DSA, as tinygrad writes a packet of SDMA."""
        self.q(0, what, record & 0xFFFF_FFFF, record >> 32, source & 0xFFFF_FFFF, source >> 32)
        self.q(destination & 0xFFFF_FFFF, destination >> 32, size, 0, 0, 0, 0, 0, 0, 0)

    def submit(self) -> None:
        """Stores what was added, and rings."""
        words, self.words = self.words, []
        total = 4 * len(words)
        while self.put + total - self._pointers[0] > self._size:
            pass
        start = self.put % self._size // 4
        most = min(len(words), self._size // 4 - start)
        self._ring[start : start + most] = array("I", words[:most])
        if most < len(words):
            self._ring[: len(words) - most] = array("I", words[most:])
        self.put += total
        self._pointers[1] = self.put
        self._pointers[2] = self.put


def sleep(poller: Any, eventfd: int, timeout: int) -> int:
    """The events of the one interrupt: how many, after ``timeout`` milliseconds at most."""
    count = len(poller.poll(timeout))
    if count:
        with open(eventfd, "rb", closefd=False, buffering=0) as file:
            file.read(8 * count)
    return count
