# SPDX-License-Identifier: Apache-2.0
"""The operations, as plain methods: one place for those that wait, those that do not, and batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from vfio_ims.errors import UsageError

from .descriptors import DsaOpcode

if TYPE_CHECKING:
    from vfio_ims.dma import Buffer

__all__ = ["Operations", "Request", "iova_of", "repeated"]

T = TypeVar("T")


class Request(NamedTuple):
    """One descriptor without its completion part."""

    opcode: int
    flags: int = 0
    source: int = 0
    destination: int = 0
    size: int = 0
    extra: int = 0
    specific: bytes = b""
    name: str = ""


def iova_of(place: Buffer | int, size: int) -> int:
    """The address for the device. UsageError where ``size`` bytes are more than the buffer has."""
    if isinstance(place, int):
        return place
    place.check_open("use a buffer")
    if size > place.size:
        why = f"size must be at most the buffer's {place.size:#x} bytes, not {size:#x}"
        raise UsageError("prepare an operation", device=place.label, why=why)
    return place.iova


class Operations(ABC, Generic[T]):
    """``flags``: descriptor flags beside those of the completion, ``Flag.FENCE`` for example."""

    @abstractmethod
    def _run(self, request: Request) -> T:
        """Do what this object does with an operation."""

    def nop(self, *, flags: int = 0) -> T:
        """Nothing: for its completion, record and interrupt."""
        return self._run(Request(DsaOpcode.NOP, flags, name="no-op"))

    def drain(self, *, flags: int = 0) -> T:
        """Completes when everything submitted to the queue before it has completed."""
        return self._run(Request(DsaOpcode.DRAIN, flags, name="drain"))

    def memmove(self, dst: Buffer | int, src: Buffer | int, size: int, *, flags: int = 0) -> T:
        """Copy ``size`` bytes; the two may overlap where the device can (GENCAP.1)."""
        return self._run(
            Request(DsaOpcode.MEMMOVE, flags, iova_of(src, size), iova_of(dst, size), size, name="memmove")
        )


def repeated(pattern: int | bytes) -> int:
    """A pattern as the 8 bytes, little endian, that repeat. UsageError unless it has 1, 2, 4 or 8 bytes."""
    if isinstance(pattern, int):
        return pattern
    if not pattern or 8 % len(pattern):
        why = f"a pattern must have 1, 2, 4 or 8 bytes, not {len(pattern)}"
        raise UsageError("prepare an operation", why=why)
    return int.from_bytes(pattern * (8 // len(pattern)), "little")
