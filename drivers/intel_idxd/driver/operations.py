# SPDX-License-Identifier: Apache-2.0
"""The operations, as plain methods: one place for those that wait, those that do not, and batches."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from vfio_ims.errors import UsageError

from ..hardware.descriptors import SPECIFIC_SIZE, DsaOpcode, encode

if TYPE_CHECKING:
    from vfio_ims.dma import Buffer

__all__ = ["Operations", "Request", "described", "fields", "iova_of", "repeated"]

T = TypeVar("T")
_FLAG_BITS = 24


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
    if not isinstance(size, int):
        raise UsageError("prepare an operation", why=f"size must be a number of 32 bits, not {size!r}")
    if isinstance(place, int):
        return place
    try:
        place.check_open("use a buffer")
    except AttributeError:
        why, hint = f"a place must be a buffer or an address, not {type(place).__name__}", ""
        if isinstance(place, (bytes, bytearray, memoryview)):
            hint = "copy it in with wq.copied(data), and out of a buffer's view"
        raise UsageError("prepare an operation", why=why, hint=hint) from None
    if size > place.size:
        why = f"size must be at most the buffer's {place.size:#x} bytes, not {size:#x}"
        raise UsageError("prepare an operation", device=place.label, why=why)
    return place.iova


class Operations(ABC, Generic[T]):
    """The operations, one a method.

    What a method returns depends on the object: a completion, work in flight, a batch's number.

    In every operation:

    - ``dst`` and ``src``, and other places: a buffer of ``device.dma``, or an IOVA, which the device translates.
    UsageError where the operation would leave the buffer.
    - ``size`` is in bytes, at most what GENCAP allows for a transfer; a device that cannot refuses with a status.
    - ``flags``: descriptor flags beside those of the completion, such as ``Flag.FENCE``.

    An operation that the device refuses or cannot finish raises OperationError, with the completion record, where it is
    waited for.
    """

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
        if not 0 <= pattern < 1 << 64:
            raise UsageError("prepare an operation", why=f"a pattern must fit 64 bits, not {pattern:#x}")
        return pattern
    if not isinstance(pattern, (bytes, bytearray, memoryview)):
        why = f"a pattern must be a number or bytes, not {type(pattern).__name__}"
        raise UsageError("prepare an operation", why=why)
    if not pattern or 8 % len(pattern):
        why = f"a pattern must have 1, 2, 4 or 8 bytes, not {len(pattern)}"
        raise UsageError("prepare an operation", why=why)
    return int.from_bytes(bytes(pattern) * (8 // len(pattern)), "little")


def fields(layout: Struct, *values: int) -> bytes:
    """An operation's own fields. UsageError names the value that does not fit."""
    try:
        return layout.pack(*values)
    except (struct.error, TypeError):
        raise UsageError("prepare an operation", why=f"a value does not fit its field: {_shown(values)}") from None


def _shown(values: Sequence[object]) -> str:
    return ", ".join(hex(value) if isinstance(value, int) else repr(value) for value in values)


def described(request: Request, device: str, flags: int, record: int, *, handle: int = 0, pasid: int = 0) -> bytes:
    """The descriptor of a request with its completion part. UsageError where a value does not fit its field.

    ``flags``: those of the completion; ``record``: where it is written; ``handle``: of its interrupt; ``pasid``: the
    request's tag; ``device``: its name in errors.
    """
    try:
        descriptor = encode(
            request.opcode,
            request.flags | flags,
            record=record,
            source=request.source,
            destination=request.destination,
            size=request.size,
            handle=handle,
            extra=request.extra,
            specific=request.specific,
            pasid=pasid,
        )
    except (struct.error, TypeError):
        raise _misfit(request, device) from None
    if request.flags >> _FLAG_BITS or len(request.specific) > SPECIFIC_SIZE:
        raise _misfit(request, device)
    return descriptor


def _misfit(request: Request, device: str) -> UsageError:
    limits: tuple[tuple[str, object, int], ...] = (
        ("flags", request.flags, _FLAG_BITS),
        ("source", request.source, 64),
        ("destination", request.destination, 64),
        ("size", request.size, 32),
        ("opcode", request.opcode, 8),
        ("extra", request.extra, 16),
    )
    wrong = [
        f"{name} must be a number of {bits} bits, not {_shown((value,))}"
        for name, value, bits in limits
        if not isinstance(value, int) or not 0 <= value < 1 << bits
    ]
    specific = request.specific
    if not isinstance(specific, (bytes, bytearray)):
        wrong.append(f"specific must be bytes, not {type(specific).__name__}")
    elif len(specific) > SPECIFIC_SIZE:
        wrong.append(f"specific must be at most {SPECIFIC_SIZE} bytes, not {len(specific)}")
    return UsageError(f"submit {request.name or 'an operation'}", device=device, why="; ".join(wrong))
