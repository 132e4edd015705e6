# SPDX-License-Identifier: Apache-2.0
"""The modelled IAA engines: compress, decompress, CRC64, the zero-run codec; filters are in ``iaa_filters``.

What is not modelled ends in the status that an unsupported opcode or flag has: see the folder's README.
"""

from __future__ import annotations

from dataclasses import replace
from struct import Struct

from ..hardware.aecs import COMPRESS_SIZE, FILTER_SIZE, CompressState, FilterState
from ..hardware.descriptors import Descriptor, DsaOpcode, Flag, IaaOpcode
from ..hardware.iaa_flags import (
    END_MASK,
    IAA_SPECIFIC,
    CompressFlag,
    Crc64Flag,
    DecompressFlag,
    IaaOutcome,
    IaaSpecific,
)
from ..hardware.inflate_state import INFLATE_SIZE, INFLATE_SIZE_WITHOUT_HISTORY, InflateState
from ..hardware.status import IaaError, IaaStatus, Status
from .checksums import crc, reflected
from .deflate import BitWriter, Codes, histogram, tokens
from .dsa_operations import DSA, EVERY_FIELD, Handler, ModelOperation, memmove
from .iaa_filters import FILTERS
from .iaa_output import Refused, check_decompress_flags, checksums, decompressed, deliver, turned
from .memory import Memory
from .result import READS, WRITES, Result, overlap

__all__ = ["IAA"]

_STATE = Struct("<286I2I30I2I")
_WRITES = Flag.IAA_WRITE_SOURCE2 | Flag.IAA_WRITE_AT_OVERFLOW
_FILTERS = WRITES | Flag.IAA_READ_SOURCE2 | Flag.IAA_SOURCE2_SECOND | Flag.IAA_CRC32C
_FLAGS = _FILTERS | _WRITES | Flag.IAA_STATE_SECOND
_ALIGNED, _NO_LIMIT = 32, 1 << 62
_ONES = (1 << 64) - 1


def _specific(descriptor: Descriptor) -> IaaSpecific:
    return IaaSpecific(*IAA_SPECIFIC.unpack(descriptor.specific))


# --- deflate ----------------------------------------------------------------------------------------------------------


def _state_at(descriptor: Descriptor, rest: IaaSpecific, *, write: bool = False) -> int:
    """Where the state is that the job reads, or writes."""
    second = bool(descriptor.flags & Flag.IAA_STATE_SECOND)
    return rest.source2 + (rest.size2 if second != write else 0)


def _check_state(descriptor: Descriptor, rest: IaaSpecific, sizes: tuple[int, ...], *, least: int) -> None:
    """Raises Refused where the second source's flags, size and place do not go together."""
    flags = descriptor.flags
    if flags & Flag.IAA_SOURCE2_SECOND:
        raise Refused(Status.FLAGS, flags=Flag.IAA_SOURCE2_SECOND)
    if flags & _WRITES == _WRITES:
        raise Refused(Status.FLAGS, flags=_WRITES)
    if not flags & (Flag.IAA_READ_SOURCE2 | _WRITES):
        return
    if rest.source2 % _ALIGNED or rest.size2 % _ALIGNED:
        raise Refused(Status.ADDRESS_ALIGN)
    if rest.size2 not in sizes if flags & _WRITES else rest.size2 < least:
        raise Refused(Status.SIZE)


def _compress(memory: Memory, descriptor: Descriptor) -> Result:
    rest, flags = _specific(descriptor), descriptor.extra
    if flags >> 6 or rest.filter_flags or rest.inputs:  # indexing, dictionaries, headers made by the device
        return Result(IaaStatus.COMPRESS_FLAGS)
    if not descriptor.flags & Flag.IAA_READ_SOURCE2 and not flags & CompressFlag.STATISTICS:
        return Result(Status.FLAGS, invalid_flags=Flag.IAA_READ_SOURCE2)
    if descriptor.flags & Flag.IAA_WRITE_AT_OVERFLOW:
        return Result(Status.FLAGS, invalid_flags=Flag.IAA_WRITE_AT_OVERFLOW)
    if not descriptor.size and not rest.most:
        return Result(Status.SIZE)
    _check_state(descriptor, rest, (COMPRESS_SIZE,), least=COMPRESS_SIZE)
    if overlap(descriptor.source, descriptor.size, descriptor.destination, rest.most):
        return Result(Status.OVERLAP)
    data = memory.read(descriptor.source, descriptor.size)
    symbols = ((byte, 0) for byte in data) if flags & CompressFlag.LITERALS else tokens(data)
    if flags & CompressFlag.STATISTICS:
        literals, distances = histogram(symbols)
        out = _STATE.pack(*literals, 0, 0, *distances, 0, 0)
        return deliver(memory, descriptor, out, rest.most, IaaOutcome())
    state = CompressState.unpacked(memory.read(_state_at(descriptor, rest), COMPRESS_SIZE))
    if state.bits > 8 * len(state.accumulator):
        return Result(IaaStatus.ANALYTICS, IaaError.STATE)
    found = checksums(data, state.crc, state.xor, flags=descriptor.flags)
    writer = BitWriter(state.accumulator, state.bits)
    codes = Codes(state.literals, state.distances)
    try:
        codes.write(writer, symbols)
        _finish(writer, codes, flags)
    except ValueError:
        return Result(IaaStatus.ANALYTICS, IaaError.NO_CODE)
    whole, left, bits = writer.finish()
    if flags & CompressFlag.BIG_ENDIAN and len(whole) % 2:
        whole, left, bits = whole[:-1], left << 8 | whole[-1], bits + 8
    kept = b"", 0
    if bits:
        rest_of_it = left.to_bytes(2 if flags & CompressFlag.BIG_ENDIAN else 1, "little")
        if flags & CompressFlag.FLUSH:
            whole += rest_of_it
        else:
            kept, bits = (rest_of_it, bits), 0
    if flags & CompressFlag.BIG_ENDIAN:
        whole = turned(whole)
    if len(whole) > rest.most:
        return Result(IaaStatus.ANALYTICS, IaaError.NO_ROOM)
    if descriptor.flags & Flag.IAA_WRITE_SOURCE2:
        after = CompressState(*found, kept[1], kept[0])
        memory.write(_state_at(descriptor, rest, write=True), after.head())
    return deliver(memory, descriptor, whole, rest.most, IaaOutcome(bits=bits, crc=found[0], xor=found[1]))


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
    if rest.filter_flags or rest.inputs:
        return Result(IaaStatus.FILTER_FLAGS)
    check_decompress_flags(flags, descriptor.size)
    if not descriptor.size and not rest.most:  # QPL: the hardware does not take both to be 0
        return Result(Status.SIZE)
    sizes = INFLATE_SIZE, INFLATE_SIZE_WITHOUT_HISTORY
    _check_state(descriptor, rest, sizes, least=FILTER_SIZE)
    if overlap(descriptor.source, descriptor.size, descriptor.destination, rest.most):
        return Result(Status.OVERLAP)
    summary, state = FilterState(), None
    if descriptor.flags & Flag.IAA_READ_SOURCE2:
        before = memory.read(_state_at(descriptor, rest), min(rest.size2, INFLATE_SIZE))
        summary, state = FilterState.unpacked(before), _state_of(before)
    elif descriptor.flags & _WRITES:
        state = InflateState()
    most = _NO_LIMIT if flags & DecompressFlag.SUPPRESS_OUTPUT else rest.most
    data, used, full, after = decompressed(memory.read(descriptor.source, descriptor.size), flags, most, state)
    full = full or len(data) > most
    out = data[:most]
    check = checksums(out if full else data, summary.crc, summary.xor, flags=descriptor.flags)
    result = deliver(
        memory,
        descriptor,
        b"" if flags & DecompressFlag.SUPPRESS_OUTPUT else out,
        rest.most,
        IaaOutcome(crc=check[0], xor=check[1]),
        used=used,
    )
    if result.status != Status.SUCCESS:
        return result
    if descriptor.flags & Flag.IAA_WRITE_SOURCE2 or (full and descriptor.flags & Flag.IAA_WRITE_AT_OVERFLOW):
        kept = after.packed(replace(summary, crc=check[0], xor=check[1]), rest.size2)
        memory.write(_state_at(descriptor, rest, write=True), kept)
    return replace(result, status=IaaStatus.OUTPUT_OVERFLOW) if full else result


def _state_of(data: bytes) -> InflateState:
    if len(data) < INFLATE_SIZE_WITHOUT_HISTORY:
        return InflateState()
    try:
        return InflateState.unpacked(data)
    except ValueError:
        raise Refused(IaaStatus.ANALYTICS, IaaError.STATE) from None


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


def _or_refused(handler: Handler) -> Handler:
    def run(memory: Memory, descriptor: Descriptor) -> Result:
        try:
            return handler(memory, descriptor)
        except Refused as refused:
            return refused.result

    return run


IAA: dict[int, ModelOperation] = {
    IaaOpcode.NOP: DSA[DsaOpcode.NOP],
    IaaOpcode.DRAIN: DSA[DsaOpcode.DRAIN],
    IaaOpcode.MEMMOVE: ModelOperation(memmove, WRITES),
    IaaOpcode.TRANSLATION_FETCH: DSA[DsaOpcode.TRANSLATION_FETCH],
    IaaOpcode.COMPRESS: ModelOperation(_or_refused(_compress), _FLAGS, fields=EVERY_FIELD, least=0),
    IaaOpcode.DECOMPRESS: ModelOperation(_or_refused(_decompress), _FLAGS, fields=EVERY_FIELD, least=0),
    IaaOpcode.CRC64: ModelOperation(_crc64, READS, fields=EVERY_FIELD),
    **{opcode: ModelOperation(_zero_codec, WRITES, fields=EVERY_FIELD) for opcode in _ELEMENTS},
    **{
        opcode: ModelOperation(_or_refused(handler), _FILTERS, fields=EVERY_FIELD)
        for opcode, handler in FILTERS.items()
    },
}
