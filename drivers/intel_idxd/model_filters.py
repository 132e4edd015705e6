# SPDX-License-Identifier: Apache-2.0
"""The modelled IAA filters on packed elements: scan, set membership, extract, select, RLE burst, find unique, expand.

Meanings: accel-config, ``test/algorithms/iaa_filter.c``; Intel QPL's documentation. Parquet's run lengths and big
endian elements are not modelled.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from .aecs import FILTER_SIZE, filter_limits
from .descriptors import Descriptor, IaaOpcode
from .iaa_flags import IAA_SPECIFIC, DecompressFlag, FilterFlags, IaaOutcome, IaaSpecific
from .model_memory import Memory, PageFault
from .model_output import checksums, decompressed, deliver
from .model_result import Result, faulted
from .status import IaaStatus, Status

__all__ = ["FILTERS"]

_WIDTHS = (0, 8, 16, 32)
_ARRAYS = {8: "B", 16: "H", 32: "I"}
Handler = Callable[[Memory, Descriptor], Result]
_Work = Callable[["_Job"], "tuple[list[int], bool]"]


class _Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def unpack(data: bytes, width: int, count: int) -> list[int]:
    """``count`` elements of ``width`` bits, the first lowest."""
    if width in _ARRAYS:
        return array(_ARRAYS[width], data[: count * width // 8]).tolist()
    mask, found = (1 << width) - 1, []
    for at in range(0, -(-count // 8) * width, width):  # eight elements are ``width`` bytes
        eight = int.from_bytes(data[at : at + width], "little")
        found += [eight >> n * width & mask for n in range(8)]
    return found[:count]


def pack(values: Iterable[int], width: int) -> tuple[bytes, int]:
    """Elements one behind the other; the bytes, and how many bits of the last are used (0: all)."""
    value = bits = 0
    pieces: list[bytes] = []
    for one in values:
        value |= one << bits
        bits += width
        if bits >= 4096 and not bits % 8:
            pieces.append(value.to_bytes(bits // 8, "little"))
            value = bits = 0
    pieces.append(value.to_bytes(-(-bits // 8), "little"))
    return b"".join(pieces), bits % 8


class _Job:
    """One filter's input: its elements, its second source, its flags."""

    def __init__(self, memory: Memory, descriptor: Descriptor) -> None:
        rest = IaaSpecific(*IAA_SPECIFIC.unpack(descriptor.specific))
        self.rest, self.flags = rest, FilterFlags.unpacked(rest.filter_flags)
        if self.flags.parse or self.flags.big_endian or self.flags.big_endian2 or rest.filter_flags >> 27:
            raise _Refused(IaaStatus.FILTER_FLAGS)
        if self.flags.drop_low + self.flags.drop_high >= self.flags.width:
            raise _Refused(IaaStatus.SOURCE_WIDTH)
        data = memory.read(descriptor.source, descriptor.size)
        if descriptor.extra & DecompressFlag.ENABLE:
            found = decompressed(data, descriptor.extra)
            if found is None:
                raise _Refused(IaaStatus.ANALYTICS)
            data = found[0]
        if not rest.inputs or rest.inputs * self.flags.width > 8 * len(data):
            raise _Refused(IaaStatus.INPUTS)
        self.data = data
        raw = unpack(data, self.flags.width, rest.inputs)
        self.valid = self.flags.width - self.flags.drop_low - self.flags.drop_high
        if self.valid != self.flags.width:
            mask = (1 << self.valid) - 1
            raw = [one >> self.flags.drop_low & mask for one in raw]
        self.elements = raw
        self.second = memory.read(rest.source2, rest.size2) if rest.size2 else b""
        self._reads = descriptor.flags >> 16 & 3

    def limits(self) -> tuple[int, int]:
        """The state's two parameters."""
        if self._reads != 1 or len(self.second) < FILTER_SIZE:
            raise _Refused(Status.FLAGS)
        low, high, _ = filter_limits(self.second)
        return low, high

    def bits(self, count: int) -> Sequence[int]:
        """The second source as ``count`` bits."""
        if self._reads != 2 or 8 * len(self.second) < count:
            raise _Refused(Status.FLAGS if self._reads != 2 else IaaStatus.INPUTS)
        return unpack(self.second, 1, count)


# Each gives its output, and whether that is a vector of bits rather than of elements.


def _scan(job: _Job) -> tuple[list[int], bool]:
    low, high = job.limits()
    mask = (1 << job.valid) - 1
    low, high = low & mask, high & mask
    return [int(low <= one <= high) for one in job.elements], True


def _set_membership(job: _Job) -> tuple[list[int], bool]:
    members = job.bits(1 << job.valid)
    return [members[one] for one in job.elements], True


def _extract(job: _Job) -> tuple[list[int], bool]:
    low, high = job.limits()
    return job.elements[low : high + 1], False


def _select(job: _Job) -> tuple[list[int], bool]:
    chosen = job.bits(job.rest.inputs)
    return [one for one, take in zip(job.elements, chosen, strict=True) if take], False


def _rle_burst(job: _Job) -> tuple[list[int], bool]:
    """Runs: of counts (8, 16 bits) or of where each ends (32 bits); the second source has the value of each."""
    width2 = job.flags.width2
    counts = job.elements
    if job.flags.width == 32:
        counts = [after - before for before, after in pairwise(counts)]
    elif job.flags.width not in (8, 16):
        raise _Refused(IaaStatus.SOURCE_WIDTH)
    if len(job.second) * 8 < len(counts) * width2 or any(count < 0 for count in counts):
        raise _Refused(IaaStatus.INPUTS)
    values = unpack(job.second, width2, len(counts))
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)], width2 == 1


def _find_unique(job: _Job) -> tuple[list[int], bool]:
    if job.valid > 15:
        raise _Refused(IaaStatus.SOURCE_WIDTH)  # the vector has a bit for each value
    found = [0] * (1 << job.valid)
    for one in job.elements:
        found[one] = 1
    return found, True


def _expand(job: _Job) -> tuple[list[int], bool]:
    """The second source has a one where the next element goes, a zero where a zero does."""
    places = unpack(job.second, 1, 8 * len(job.second))
    elements = iter(job.elements)
    out: list[int] = []
    for place in places:
        if place:
            following = next(elements, None)
            if following is None:
                break
            out.append(following)
        else:
            out.append(0)
    return out, False


def _handler(work: _Work) -> Handler:
    def run(memory: Memory, descriptor: Descriptor) -> Result:
        try:
            job = _Job(memory, descriptor)
            values, of_bits = work(job)
        except _Refused as refused:
            return Result(refused.status, invalid_flags=0x7 << 16 if refused.status == Status.FLAGS else 0)
        except PageFault as fault:
            return faulted(fault, 0)
        if of_bits and job.flags.invert:
            values = [one ^ 1 for one in values]
        elif job.flags.invert:
            return Result(IaaStatus.INVERT_OUTPUT)
        outcome = _aggregates(values, of_bits)
        width = job.flags.width2 if work is _rle_burst else 1 if of_bits else job.valid
        if job.flags.output:
            width = _WIDTHS[job.flags.output]
            if of_bits:
                values = [number for number, one in enumerate(values) if one]
            if any(one >> width for one in values):
                return Result(IaaStatus.OUTPUT_OVERFLOW)
        out, bits = pack(values, width)
        check = checksums(job.data)
        return deliver(memory, descriptor, out, job.rest.most, outcome._replace(bits=bits, crc=check[0], xor=check[1]))

    return run


def _aggregates(values: Sequence[int], of_bits: bool) -> IaaOutcome:
    """Of bits: where the first and the last one is, and how many; of elements: minimum, maximum, sum."""
    if not of_bits:
        low, high = (min(values), max(values)) if values else (0xFFFF_FFFF, 0)
        return IaaOutcome(low=low, high=high, total=sum(values) & 0xFFFF_FFFF)
    ones = [number for number, one in enumerate(values) if one]
    return IaaOutcome(low=ones[0] if ones else 0xFFFF_FFFF, high=ones[-1] if ones else 0, total=len(ones))


FILTERS: dict[int, Handler] = {
    IaaOpcode.SCAN: _handler(_scan),
    IaaOpcode.SET_MEMBERSHIP: _handler(_set_membership),
    IaaOpcode.EXTRACT: _handler(_extract),
    IaaOpcode.SELECT: _handler(_select),
    IaaOpcode.RLE_BURST: _handler(_rle_burst),
    IaaOpcode.FIND_UNIQUE: _handler(_find_unique),
    IaaOpcode.EXPAND: _handler(_expand),
}
"""By opcode."""
