# SPDX-License-Identifier: Apache-2.0
"""What the modelled IAA operations have in common: input that may be compressed, checksums, output that must fit."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from ..hardware.descriptors import Descriptor, Flag
from ..hardware.iaa_flags import DecompressFlag, IaaOutcome
from ..hardware.inflate_state import InflateState
from ..hardware.status import IaaError, IaaStatus, Status
from .checksums import CRC32C, crc
from .inflate import Damaged, inflate
from .memory import Memory, PageFault
from .result import Result, faulted

__all__ = ["Decompressed", "Refused", "check_decompress_flags", "checksums", "decompressed", "deliver", "turned"]

_WINDOW = -12  # raw deflate with distances of 4 KiB at most (QPL's documentation)
_PART, _OUTPUT = 4096, 512  # zlib checks distances against its window plus what it puts out at once
_ALL_ONES = 0xFFFF_FFFF
_KNOWN = sum(
    (
        DecompressFlag.ENABLE,
        DecompressFlag.FLUSH,
        DecompressFlag.STOP_AT_END,
        DecompressFlag.CHECK_END,
        DecompressFlag.FINAL_END,
        DecompressFlag.BIG_ENDIAN,
        7 * DecompressFlag.IGNORED_BITS,
        DecompressFlag.SUPPRESS_OUTPUT,
    )
)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Refused(Exception):
    """A job ends in this status; with ``IaaStatus.ANALYTICS`` ``error`` says more."""

    def __init__(self, status: int, error: int = 0, *, flags: int = 0) -> None:
        super().__init__(status)
        self.result = Result(status, error, invalid_flags=flags)


class Decompressed(NamedTuple):
    """``data``: as much as fits. ``used``: bytes of input. ``full``: there is more."""

    data: bytes
    used: int
    full: bool
    state: InflateState


def checksums(data: bytes, seed_crc: int = 0, seed_xor: int = 0, *, flags: int = 0) -> tuple[int, int]:
    """CRC-32 (or 32C) and the exclusive or of 16-bit words over uncompressed data.

    The second is inferred from its name; each job begins with a whole word.
    """
    whole = data + b"\0" * (len(data) % 2)
    value = seed_xor & 0xFFFF
    for word in memoryview(whole).cast("H"):
        value ^= word
    if flags & Flag.IAA_CRC32C:
        return crc(data, CRC32C, 32, seed_crc ^ _ALL_ONES, reflect=True) ^ _ALL_ONES, value
    return zlib.crc32(data, seed_crc), value


def turned(data: bytes) -> bytes:
    """Each 16-bit word with its bits in reverse order (QPL's "Big Endian 16"). Of an even size."""
    out = bytearray(data.translate(_REVERSED))
    out[::2], out[1::2] = out[1::2], out[::2]
    return bytes(out)


def deliver(
    memory: Memory, descriptor: Descriptor, data: bytes, most: int, outcome: IaaOutcome, *, used: int = -1
) -> Result:
    """Write the output; too much of it fills the destination and is an error. ``used``: of the input; -1: all."""
    status = Status.SUCCESS if len(data) <= most else IaaStatus.OUTPUT_OVERFLOW
    try:
        memory.write(descriptor.destination, data[:most])
    except PageFault as fault:
        return faulted(fault, 0, specific=outcome._replace(size=0).packed())
    completed = descriptor.size if used < 0 else used
    return Result(status, 0, completed, specific=outcome._replace(size=min(len(data), most)).packed())


def check_decompress_flags(flags: int, size: int) -> None:
    """Raises Refused."""
    if flags & ~_KNOWN:  # indexing, and what later versions have
        raise Refused(IaaStatus.COMPRESS_FLAGS)
    if flags & DecompressFlag.BIG_ENDIAN and size % 2:
        raise Refused(IaaStatus.INPUT_SIZE)


def decompressed(data: bytes, flags: int, most: int, state: InflateState | None = None) -> Decompressed:
    """What ``data`` decompresses to, going on from ``state``, up to ``most`` bytes. Raises Refused."""
    if not flags & DecompressFlag.ENABLE:
        return Decompressed(data, len(data), False, state or InflateState())
    ends = flags & (DecompressFlag.STOP_AT_END | DecompressFlag.CHECK_END)
    plain = not flags & DecompressFlag.BIG_ENDIAN and not flags & 7 * DecompressFlag.IGNORED_BITS
    if state is None and plain and (not ends or flags & DecompressFlag.FINAL_END):
        found = _at_once(data, flags)
        if found is not None:
            return Decompressed(found[0], found[1], False, InflateState())
    if flags & DecompressFlag.BIG_ENDIAN:
        data = turned(data)
    try:
        return Decompressed(*inflate(state or InflateState(), data, most, flags))
    except Damaged as damage:
        raise Refused(IaaStatus.ANALYTICS, damage.error) from None
    except ValueError:
        raise Refused(IaaStatus.ANALYTICS, IaaError.STATE) from None


def _at_once(data: bytes, flags: int) -> tuple[bytes, int] | None:
    """A whole stream, by zlib; None where it is damaged: the other way says why."""
    engine = zlib.decompressobj(_WINDOW)
    out, at = bytearray(), 0
    try:
        while at < len(data) and not engine.eof:
            part, at = data[at : at + _PART], at + _PART
            while not engine.eof:
                piece = engine.decompress(part, _OUTPUT)
                part = engine.unconsumed_tail
                out += piece
                if not piece and not part:
                    break
    except zlib.error:
        return None
    if flags & DecompressFlag.CHECK_END and not engine.eof:
        return None
    return bytes(out), min(at, len(data)) - len(engine.unused_data)
