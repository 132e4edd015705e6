# SPDX-License-Identifier: Apache-2.0
"""The modelled IAA filters: scan, set membership, extract, select, RLE burst, find unique, expand.

Meanings: accel-config, ``test/algorithms/iaa_filter.c``; Intel QPL's documentation, "Filter and Other Operations".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from ..hardware.aecs import FILTER_SIZE, FilterState
from ..hardware.descriptors import Descriptor, Flag, IaaOpcode
from ..hardware.iaa_flags import IAA_SPECIFIC, DecompressFlag, FilterFlags, IaaOutcome, IaaSpecific
from ..hardware.status import IaaError, IaaStatus, Status
from .filter_elements import pack, pack_high, run_lengths, unpack, unpack_high
from .iaa_output import Refused, check_decompress_flags, checksums, decompressed, deliver
from .memory import Memory, PageFault
from .result import Result, faulted

__all__ = ["FILTERS"]

_WIDTHS = (0, 8, 16, 32)
_RUN_LENGTHS = 2
_STATE, _INPUT = 1, 2  # what the second source is
_SOURCE2 = Flag.IAA_READ_SOURCE2 | Flag.IAA_SOURCE2_SECOND
_ALIGNED, _NO_LIMIT = 32, 1 << 62
Handler = Callable[[Memory, Descriptor], Result]
_Work = Callable[["_Job"], "tuple[list[int], bool]"]


class _Job:
    """One filter's input: its elements, its second source, its flags."""

    def __init__(self, memory: Memory, descriptor: Descriptor) -> None:
        rest = IaaSpecific(*IAA_SPECIFIC.unpack(descriptor.specific))
        self.rest, self.flags = rest, FilterFlags.unpacked(rest.filter_flags)
        flags, how = self.flags, descriptor.extra
        if flags.parse > _RUN_LENGTHS or rest.filter_flags >> 27:
            raise Refused(IaaStatus.FILTER_FLAGS)
        if flags.parse == _RUN_LENGTHS and flags.width != 1:
            raise Refused(IaaStatus.SOURCE_WIDTH)
        if flags.parse != _RUN_LENGTHS and flags.drop_low + flags.drop_high >= flags.width:
            raise Refused(IaaStatus.SOURCE_WIDTH)
        if not rest.inputs:
            raise Refused(IaaStatus.INPUTS)
        check_decompress_flags(how, descriptor.size)
        self._reads = descriptor.flags >> 16 & 3
        self.second = memory.read(rest.source2, rest.size2) if rest.size2 and self._reads else b""
        if self._reads == _STATE and (rest.source2 % _ALIGNED or rest.size2 % _ALIGNED):
            raise Refused(Status.ADDRESS_ALIGN)
        self.state = FilterState()
        if self._reads == _STATE and len(self.second) >= FILTER_SIZE:
            self.state = FilterState.unpacked(self.second)
        data = memory.read(descriptor.source, descriptor.size)
        if how & DecompressFlag.ENABLE:
            data = decompressed(data, how, _NO_LIMIT).data
        self.data = data
        self._plain = data[self.state.drop :]

    def elements(self, count: int = 0) -> list[int]:
        """As many as the descriptor says, or ``count``; their high and low bits dropped."""
        count = count or self.rest.inputs
        width, raw = self.flags.width, self._plain
        if self.flags.parse == _RUN_LENGTHS:
            width, found = run_lengths(raw, count)
        else:
            if count * width > 8 * len(raw):
                raise Refused(IaaStatus.ANALYTICS, IaaError.SHORT_SOURCE1)
            found = (unpack_high if self.flags.parse else unpack)(raw, width, count)
        self.width = width
        self.valid = width - self.flags.drop_low - self.flags.drop_high
        if self.valid < 1:
            raise Refused(IaaStatus.SOURCE_WIDTH)
        if self.valid != width:
            mask = (1 << self.valid) - 1
            found = [one >> self.flags.drop_low & mask for one in found]
        return found

    def limits(self) -> tuple[int, int]:
        """The state's two parameters."""
        if self._reads != _STATE or len(self.second) < FILTER_SIZE:
            raise Refused(Status.FLAGS, flags=_SOURCE2)
        return self.state.low, self.state.high

    def others(self, width: int, count: int) -> Sequence[int]:
        """``count`` elements of the second source."""
        if self._reads != _INPUT:
            raise Refused(Status.FLAGS, flags=_SOURCE2)
        if 8 * len(self.second) < width * count:
            raise Refused(IaaStatus.ANALYTICS, IaaError.SHORT_SOURCE2)
        return (unpack_high if self.flags.big_endian2 else unpack)(self.second, width, count)


# Each gives its output, and whether that is a vector of bits rather than of elements.


def _scan(job: _Job) -> tuple[list[int], bool]:
    low, high = job.limits()
    elements = job.elements()
    mask = (1 << job.valid) - 1
    low, high = low & mask, high & mask
    return [int(low <= one <= high) for one in elements], True


def _set_membership(job: _Job) -> tuple[list[int], bool]:
    elements = job.elements()
    members = job.others(1, 1 << job.valid)
    return [members[one] for one in elements], True


def _extract(job: _Job) -> tuple[list[int], bool]:
    low, high = job.limits()
    return job.elements()[low : high + 1], False


def _select(job: _Job) -> tuple[list[int], bool]:
    chosen = job.others(1, job.rest.inputs)
    return [one for one, take in zip(job.elements(), chosen, strict=True) if take], False


def _rle_burst(job: _Job) -> tuple[list[int], bool]:
    """Runs: of counts (8, 16 bits) or of where each ends (32 bits); the second source has the value of each."""
    width2 = job.flags.width2
    counts = job.elements()
    if job.width == 32:
        counts = [after - before for before, after in pairwise(counts)]
    elif job.width not in (8, 16):
        raise Refused(IaaStatus.SOURCE_WIDTH)
    if any(count < 0 for count in counts):
        raise Refused(IaaStatus.ANALYTICS, IaaError.RUN_LENGTHS)
    values = job.others(width2, len(counts))
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)], width2 == 1


def _find_unique(job: _Job) -> tuple[list[int], bool]:
    elements = job.elements()
    if job.valid > 15:
        raise Refused(IaaStatus.SOURCE_WIDTH)  # the vector has a bit for each value
    found = [0] * (1 << job.valid)
    for one in elements:
        found[one] = 1
    return found, True


def _expand(job: _Job) -> tuple[list[int], bool]:
    """The second source, whose elements are counted here, has a one where the next element goes, else a zero."""
    places = job.others(1, job.rest.inputs)
    count = sum(places)
    elements = iter(job.elements(count) if count else ())
    if not count:
        job.valid = job.flags.width
    return [next(elements) if place else 0 for place in places], False


def _handler(work: _Work) -> Handler:
    def run(memory: Memory, descriptor: Descriptor) -> Result:
        try:
            job = _Job(memory, descriptor)
            values, of_bits = work(job)
        except PageFault as fault:
            return faulted(fault, 0)
        flags = job.flags
        if of_bits and flags.invert:
            values = [one ^ 1 for one in values]
        elif flags.invert:
            return Result(IaaStatus.INVERT_OUTPUT)
        outcome = _aggregates(values, of_bits)
        width = flags.width2 if work is _rle_burst else 1 if of_bits else job.valid
        if flags.output:
            width = _WIDTHS[flags.output]
            if of_bits:
                values = [number + job.state.first_index for number, one in enumerate(values) if one]
            if any(one >> width for one in values):
                return Result(IaaStatus.ANALYTICS, IaaError.OUTPUT_WIDTH)
        out, bits = (pack_high if flags.big_endian else pack)(values, width)
        check = checksums(job.data, flags=descriptor.flags)
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
