# SPDX-License-Identifier: Apache-2.0
"""The modelled operations with checksums: CRC generation, copy with CRC.

Flags and the order of inversion and reflection: accel-config's tests, Intel DML's software path.
"""

from __future__ import annotations

from struct import Struct

from ..hardware.descriptors import Descriptor, Flag
from ..hardware.status import Status
from .checksums import CRC32C, crc, reflected
from .memory import Memory, PageFault
from .result import Result, faulted, overlap, pieces

__all__ = ["copy_crc", "generate_crc"]

_SEED = Struct("<IIQ")
_ONES = 0xFFFF_FFFF


class _Running:
    """The CRC register. By default CRC-32C as everybody knows it; the flags leave out parts of that."""

    def __init__(self, flags: int, seed: int) -> None:
        self._bare, self._plain = bool(flags & Flag.CRC_BARE), bool(flags & Flag.CRC_PLAIN_DATA)
        # The register runs mirrored where data comes bit 0 first.
        register = seed if self._bare else reflected(seed ^ _ONES, 32)
        self._register = register if self._plain else reflected(register, 32)

    def add(self, data: bytes) -> None:
        self._register = crc(data, CRC32C, 32, self._register, reflect=not self._plain)

    def value(self) -> int:
        register = self._register if self._plain else reflected(self._register, 32)
        return register if self._bare else reflected(register, 32) ^ _ONES


def _seed(memory: Memory, descriptor: Descriptor) -> int:
    seed, _, address = _SEED.unpack_from(descriptor.specific)
    if descriptor.flags & Flag.CRC_READ_SEED:
        return int.from_bytes(memory.read(address, 4), "little")
    return int(seed)


def generate_crc(memory: Memory, descriptor: Descriptor) -> Result:
    """The CRC of the source."""
    return _run(memory, descriptor, None)


def copy_crc(memory: Memory, descriptor: Descriptor) -> Result:
    """Copy, and the CRC of what was copied."""
    if overlap(descriptor.source, descriptor.size, descriptor.destination, descriptor.size):
        return Result(Status.OVERLAP)
    return _run(memory, descriptor, descriptor.destination)


def _run(memory: Memory, descriptor: Descriptor, to: int | None) -> Result:
    address = _SEED.unpack_from(descriptor.specific)[2]
    if descriptor.flags & Flag.CRC_READ_SEED and address % 4:
        return Result(Status.ADDRESS_ALIGN)
    try:
        running = _Running(descriptor.flags, _seed(memory, descriptor))
    except PageFault as fault:
        return faulted(fault, 0)
    try:
        for at, (data,) in pieces(memory, (descriptor.source,), descriptor.size):
            if to is not None:
                try:
                    memory.write(to + at, data)
                except PageFault as fault:
                    running.add(data[: fault.done])
                    raise PageFault(fault.address, write=True, done=at + fault.done) from None
            running.add(data)
    except PageFault as fault:
        return faulted(fault, fault.done, specific=running.value().to_bytes(4, "little"))
    return Result(specific=running.value().to_bytes(4, "little"))
