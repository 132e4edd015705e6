# SPDX-License-Identifier: Apache-2.0
"""The modelled IAA engines: compress, decompress, CRC64, the zero-run codec; filters are in ``model_filters``.

What is not modelled ends in the status that an unsupported opcode or flag has: see the folder's README.
"""

from __future__ import annotations

from struct import Struct

from .aecs import COMPRESS_SIZE, CompressState
from .checksums import crc, reflected
from .descriptors import Descriptor, Flag, IaaOpcode
from .iaa_flags import END_MASK, IAA_SPECIFIC, CompressFlag, Crc64Flag, DecompressFlag, IaaOutcome, IaaSpecific
from .model_deflate import BitWriter, Codes, histogram, tokens
from .model_filters import FILTERS
from .model_memory import Memory
from .model_operations import DSA, EVERY_FIELD, Operation, memmove
from .model_output import checksums, decompressed, deliver
from .model_result import READS, WRITES, Result, overlap
from .status import IaaStatus, Status

__all__ = ["IAA"]

_STATE = Struct("<286I2I30I2I")
_FLAGS = WRITES | Flag.IAA_READ_SOURCE2
_ONES = (1 << 64) - 1


def _specific(descriptor: Descriptor) -> IaaSpecific:
    return IaaSpecific(*IAA_SPECIFIC.unpack(descriptor.specific))


# --- deflate ----------------------------------------------------------------------------------------------------------


def _compress(memory: Memory, descriptor: Descriptor) -> Result:
    rest, flags = _specific(descriptor), descriptor.extra
    if flags & CompressFlag.BIG_ENDIAN or flags >> 6:
        return Result(IaaStatus.COMPRESS_FLAGS)
    if not descriptor.flags & Flag.IAA_READ_SOURCE2 and not flags & CompressFlag.STATISTICS:
        return Result(Status.FLAGS, invalid_flags=Flag.IAA_READ_SOURCE2)
    if rest.size2 and rest.size2 != COMPRESS_SIZE:
        return Result(Status.SIZE)
    if overlap(descriptor.source, descriptor.size, descriptor.destination, rest.most):
        return Result(Status.OVERLAP)
    data = memory.read(descriptor.source, descriptor.size)
    if flags & CompressFlag.STATISTICS:
        literals, distances = histogram(tokens(data))
        out = _STATE.pack(*literals, 0, 0, *distances, 0, 0)
        return deliver(memory, descriptor, out, rest.most, IaaOutcome())
    state = CompressState.unpacked(memory.read(rest.source2, COMPRESS_SIZE))
    found = checksums(data, state.crc, state.xor)
    writer = BitWriter(state.accumulator, state.bits)
    codes = Codes(state.literals, state.distances)
    try:
        codes.write(writer, tokens(data))
        _finish(writer, codes, flags)
    except ValueError:
        return Result(IaaStatus.ANALYTICS)
    whole, left, bits = writer.finish()
    if bits and flags & CompressFlag.FLUSH:
        whole += bytes((left,))
    outcome = IaaOutcome(bits=bits, crc=found[0], xor=found[1])
    return deliver(memory, descriptor, whole, rest.most, outcome)


def _finish(writer: BitWriter, codes: Codes, flags: int) -> None:
    end = flags & END_MASK
    if end:
        codes.end(writer)
    if end in (CompressFlag.END_OF_BLOCK_AND_STORED, CompressFlag.END_OF_BLOCK_AND_FINAL_STORED):
        writer.put(int(end == CompressFlag.END_OF_BLOCK_AND_FINAL_STORED), 3)  # an empty stored block
        writer.align()
        writer.put(0xFFFF_0000, 32)


def _decompress(memory: Memory, descriptor: Descriptor) -> Result:
    rest, flags = _specific(descriptor), descriptor.extra
    if flags & DecompressFlag.BIG_ENDIAN or descriptor.flags & Flag.IAA_READ_SOURCE2:
        return Result(IaaStatus.COMPRESS_FLAGS)
    if overlap(descriptor.source, descriptor.size, descriptor.destination, rest.most):
        return Result(Status.OVERLAP)
    found = decompressed(memory.read(descriptor.source, descriptor.size), flags)
    if found is None:
        return Result(IaaStatus.ANALYTICS)
    data, used = found
    check = checksums(data)
    out = b"" if flags & DecompressFlag.SUPPRESS_OUTPUT else data
    result = deliver(memory, descriptor, out, rest.most, IaaOutcome(crc=check[0], xor=check[1]))
    if result.status != Status.SUCCESS:
        return result
    return Result(result.status, 0, used, specific=result.specific)


# --- CRC64 ------------------------------------------------------------------------------------------------------------


def _crc64(memory: Memory, descriptor: Descriptor) -> Result:
    polynomial = int.from_bytes(descriptor.specific[16:24], "little")
    reflect = bool(descriptor.extra & Crc64Flag.REFLECT)
    inverted = 0
    if descriptor.extra & Crc64Flag.INVERT:  # only the bits that the polynomial reaches: shorter CRCs are in the upper
        lowest = polynomial & -polynomial
        inverted = _ONES & ~(lowest - 1) if lowest else 0
        inverted = reflected(inverted, 64) if reflect else inverted
    data = memory.read(descriptor.source, descriptor.size)
    value = crc(data, polynomial, 64, inverted, reflect=reflect) ^ inverted
    return Result(completed=descriptor.size, specific=bytes(24) + value.to_bytes(8, "little"))


# --- the codec for data with many zeros -------------------------------------------------------------------------------

_BLOCK = 128
_ELEMENTS = {
    IaaOpcode.ZCOMPRESS8: 1,
    IaaOpcode.ZCOMPRESS16: 2,
    IaaOpcode.ZCOMPRESS32: 4,
    IaaOpcode.ZDECOMPRESS8: 1,
    IaaOpcode.ZDECOMPRESS16: 2,
    IaaOpcode.ZDECOMPRESS32: 4,
}


def zero_compressed(data: bytes, width: int) -> bytes:
    """Blocks of 128 bytes: a bit for each element that is not zero, then those. Bits beyond the end are ones."""
    count = _BLOCK // width
    out = bytearray()
    for at in range(0, len(data), _BLOCK):
        block = data[at : at + _BLOCK]
        elements = [block[n : n + width] for n in range(0, len(block), width)]
        tags = (1 << count) - 1
        for number, element in enumerate(elements):
            if not any(element):
                tags &= ~(1 << number)
        out += tags.to_bytes(count // 8, "little") + b"".join(e for e in elements if any(e))
    return bytes(out)


def zero_decompressed(data: bytes, width: int) -> bytes:
    count = _BLOCK // width
    out, at = bytearray(), 0
    while at < len(data):
        tags = int.from_bytes(data[at : at + count // 8], "little")
        at += count // 8
        for number in range(count):
            if not tags >> number & 1:
                out += bytes(width)
            elif at < len(data):
                out += data[at : at + width]
                at += width
            else:
                break
    return bytes(out)


def _zero_codec(memory: Memory, descriptor: Descriptor) -> Result:
    width, rest = _ELEMENTS[IaaOpcode(descriptor.opcode)], _specific(descriptor)
    if descriptor.size % width:
        return Result(Status.SIZE)
    data = memory.read(descriptor.source, descriptor.size)
    packing = descriptor.opcode >= IaaOpcode.ZCOMPRESS32
    out = zero_compressed(data, width) if packing else zero_decompressed(data, width)
    return deliver(memory, descriptor, out, rest.most, IaaOutcome())


IAA: dict[int, Operation] = {
    IaaOpcode.NOP: DSA[0],
    IaaOpcode.DRAIN: DSA[2],
    IaaOpcode.MEMMOVE: Operation(memmove, WRITES),
    IaaOpcode.COMPRESS: Operation(_compress, _FLAGS, fields=EVERY_FIELD),
    IaaOpcode.DECOMPRESS: Operation(_decompress, _FLAGS, fields=EVERY_FIELD),
    IaaOpcode.CRC64: Operation(_crc64, READS, fields=EVERY_FIELD),
    **{opcode: Operation(_zero_codec, WRITES, fields=EVERY_FIELD) for opcode in _ELEMENTS},
    **{
        opcode: Operation(handler, _FLAGS | Flag.IAA_SOURCE2_SECOND, fields=EVERY_FIELD)
        for opcode, handler in FILTERS.items()
    },
}
