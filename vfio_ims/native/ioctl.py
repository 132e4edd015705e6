# SPDX-License-Identifier: Apache-2.0
"""The one place where an ioctl is made, and the chain of capabilities behind its answer.

VFIO's info structures may be followed by capabilities. The kernel says in ``argsz`` how much room it wants; the caller
asks again with that much.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from vfio_ims.counted import counted
from vfio_ims.errors import DeviceError
from vfio_ims.native.lib import CData, native

__all__ = ["Capability", "ask", "call", "chain", "structure"]

_MOST = 1 << 20  # bytes of answer; more is a kernel gone wrong


class Capability(NamedTuple):
    """One capability of a chain: its id and where it starts in the answer."""

    id: int
    version: int
    offset: int


def call(fd: int, request: int, argument: CData | int) -> int:
    """Make the request; the kernel's answer. Raises OSError. Made again where a signal interrupted it."""
    lib = native().lib
    while True:
        if isinstance(argument, int):
            result = lib.ioc_call_value(fd, request, argument)
        else:
            result = lib.ioc_call(fd, request, argument)
        if result >= 0:
            return result
        if result != -4:  # EINTR: Python's own handlers run between two calls
            raise OSError(-result, os.strerror(-result))


def structure(kind: str, **fields: int) -> CData:
    """A new structure whose first word is its own size, as both interfaces want it."""
    ffi, _ = native()
    made = ffi.new(f"struct ioc_{kind} *")
    setattr(made, "argsz" if hasattr(made, "argsz") else "size", ffi.sizeof(f"struct ioc_{kind}"))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def ask(fd: int, request: int, kind: str, **fields: int) -> tuple[CData, bytes]:
    """An info request with room for its capabilities: the structure, and the whole answer that it starts."""
    ffi, _ = native()
    room = ffi.sizeof(f"struct ioc_{kind}")
    while True:
        buffer = ffi.new("uint8_t[]", room)
        answer = ffi.cast(f"struct ioc_{kind} *", buffer)
        for name, value in fields.items():
            setattr(answer, name, value)
        answer.argsz = room
        call(fd, request, answer)
        wanted = answer.argsz
        if wanted <= room:
            whole = bytes(ffi.buffer(buffer))
            return ffi.from_buffer(f"struct ioc_{kind} *", whole), whole
        if wanted > _MOST:
            raise DeviceError(f"read {kind}", why=f"the kernel asks for {counted(wanted, 'byte')} of room")
        room = wanted


def chain(what: str, answer: bytes, first: int) -> Iterator[Capability]:
    """Walk the capabilities. DeviceError for a chain that loops or leaves the answer."""
    ffi, _ = native()
    size = ffi.sizeof("struct ioc_cap_header")
    seen: set[int] = set()
    while first:
        if first in seen:
            raise DeviceError(f"read {what}", why=f"its capability chain loops at offset {first:#x}")
        if first + size > len(answer):
            why = f"its capability chain points to {first:#x}, outside of the answer's {len(answer):#x} bytes"
            raise DeviceError(f"read {what}", why=why)
        seen.add(first)
        header = ffi.from_buffer("struct ioc_cap_header *", memoryview(answer)[first : first + size])
        yield Capability(header.id, header.version, first)
        first = header.next


def part(kind: str, what: str, answer: bytes, offset: int) -> CData:
    """A structure within an answer. DeviceError where it does not fit."""
    ffi, _ = native()
    size = ffi.sizeof(f"struct ioc_{kind}")
    if offset + size > len(answer):
        raise DeviceError(f"read {what}", why=f"{kind} at {offset:#x} is cut off")
    return ffi.from_buffer(f"struct ioc_{kind} *", answer[offset : offset + size])
