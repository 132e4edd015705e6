# SPDX-License-Identifier: Apache-2.0
"""IAA's operations. Meanings: Intel QPL and accel-config; which a device has is in OPCAP."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, TypeVar

from vfio_ims.errors import UsageError

from ..hardware.aecs import COMPRESS_SIZE, FILTER_SIZE
from ..hardware.descriptors import Flag, IaaOpcode
from ..hardware.iaa_flags import IAA_SPECIFIC, CompressFlag, Crc64Flag, DecompressFlag, FilterFlags, IaaSpecific
from ..hardware.inflate_state import INFLATE_SIZE
from .operations import Operations, Request, fields, iova_of

if TYPE_CHECKING:
    from vfio_ims.dma import Buffer

__all__ = ["CRC64_ECMA", "INFLATE", "IaaOperations"]

T = TypeVar("T")
_POLYNOMIAL = Struct("<Q")
CRC64_ECMA = 0x42F0_E1EB_A9EA_3693
"""ECMA-182's polynomial."""

_CODECS = {
    8: (IaaOpcode.ZCOMPRESS8, IaaOpcode.ZDECOMPRESS8),
    16: (IaaOpcode.ZCOMPRESS16, IaaOpcode.ZDECOMPRESS16),
    32: (IaaOpcode.ZCOMPRESS32, IaaOpcode.ZDECOMPRESS32),
}
INFLATE = (
    DecompressFlag.ENABLE
    | DecompressFlag.FLUSH
    | DecompressFlag.CHECK_END
    | DecompressFlag.STOP_AT_END
    | DecompressFlag.FINAL_END
)
"""How to decompress a whole stream: up to the end of its final block, which must be there."""
_STATE, _INPUT = Flag.IAA_READ_SOURCE2, Flag.IAA_SOURCE2_SECOND


class IaaOperations(Operations[T]):
    """Results are in the completion's ``outcome``: output size, checksums, aggregates.

    ``dst``, ``src``, ``size`` and ``flags`` are as in every operation. ``most``: bytes of room for output at ``dst``;
    output that does not fit ends the operation. Filters have these too:

    - ``inputs``: how many elements there are in the source.
    - ``form``: how wide they are, how they are packed, what the output is (``FilterFlags``).
    - ``how``: ``DecompressFlag.ENABLE`` where the source is deflated.
    """

    def compress(
        self,
        dst: Buffer | int,
        most: int,
        src: Buffer | int,
        size: int,
        state: Buffer | int,
        *,
        how: int = CompressFlag.FLUSH | CompressFlag.END_OF_BLOCK,
        keep: bool = False,
        flags: int = 0,
    ) -> T:
        """Deflate, raw, with the codes and the block's header that ``state`` has (``CompressState().packed()``).

        ``how``: ``CompressFlag``. The output is what any inflate understands. ``keep``: checksums and the bits that are
        left go into a second state behind the first, for the next piece; ``CompressStream`` does that.
        """
        flags |= _STATE | (Flag.IAA_WRITE_SOURCE2 if keep else 0)
        second = state, COMPRESS_SIZE, (2 if keep else 1) * COMPRESS_SIZE
        return self._deflate(IaaOpcode.COMPRESS, dst, most, src, size, how, flags, second, "compress")

    def statistics(self, dst: Buffer | int, most: int, src: Buffer | int, size: int, *, flags: int = 0) -> T:
        """How often each literal, length and distance code would be used: 1280 bytes of 32-bit counts."""
        how = CompressFlag.STATISTICS
        return self._deflate(IaaOpcode.COMPRESS, dst, most, src, size, how, flags, (0, 0, 0), "statistics")

    def decompress(
        self,
        dst: Buffer | int,
        most: int,
        src: Buffer | int,
        size: int,
        *,
        how: int = INFLATE,
        state: Buffer | int | None = None,
        resume: bool = True,
        keep: int = 0,
        flags: int = 0,
    ) -> T:
        """Inflate raw deflate data whose matches reach back 4 KiB at most. ``how``: ``DecompressFlag``.

        ``state``: where two states of ``INFLATE_SIZE`` are, for a stream in pieces: the first is read (``resume``), the
        second written (``keep``: ``Flag.IAA_WRITE_SOURCE2``, or ``IAA_WRITE_AT_OVERFLOW``); ``DecompressStream`` does
        that.
        """
        second: tuple[Buffer | int, int, int] = (0, 0, 0)
        if state is not None:
            flags |= keep | (_STATE if resume else 0)
            second = state, INFLATE_SIZE, (2 if keep else 1) * INFLATE_SIZE
        return self._deflate(IaaOpcode.DECOMPRESS, dst, most, src, size, how, flags, second, "decompress")

    def _deflate(
        self,
        opcode: IaaOpcode,
        dst: Buffer | int,
        most: int,
        src: Buffer | int,
        size: int,
        how: int,
        flags: int,
        second: tuple[Buffer | int, int, int],
        name: str,
    ) -> T:
        """``second``: a state's place and size, and how much is there."""
        place, length, whole = second
        rest = IaaSpecific(iova_of(place, whole), most, length)
        places = iova_of(src, size), iova_of(dst, most)
        return self._run(Request(opcode, flags, *places, size, how, fields(IAA_SPECIFIC, *rest), name))

    def crc64(
        self,
        src: Buffer | int,
        size: int,
        polynomial: int = CRC64_ECMA,
        *,
        reflect: bool = False,
        invert: bool = False,
        flags: int = 0,
    ) -> T:
        """A CRC of up to 64 bits of ``size`` bytes at ``src``, in the completion's ``crc64``.

        ``polynomial``: of a shorter CRC it is in the upper bits. ``reflect``: bit 0 of each byte first; ``invert``:
        seed and result inverted.
        """
        how = (Crc64Flag.REFLECT if reflect else 0) | (Crc64Flag.INVERT if invert else 0)
        specific = bytes(16) + fields(_POLYNOMIAL, polynomial)
        return self._run(Request(IaaOpcode.CRC64, flags, iova_of(src, size), 0, size, how, specific, "CRC64"))

    def zero_compress(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, width: int = 16, *, flags: int = 0
    ) -> T:
        """Leave out elements of ``width`` bits (8, 16, 32) that are zero: a bit for each says so."""
        return self._codec(0, dst, most, src, size, width, flags)

    def zero_decompress(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, width: int = 16, *, flags: int = 0
    ) -> T:
        """Put in again the elements of ``width`` bits that ``zero_compress`` left out."""
        return self._codec(1, dst, most, src, size, width, flags)

    def _codec(
        self, back: int, dst: Buffer | int, most: int, src: Buffer | int, size: int, width: int, flags: int
    ) -> T:
        if width not in _CODECS:
            raise UsageError("prepare an operation", why=f"width must be 8, 16 or 32 bits, not {width!r}")
        places, rest = (iova_of(src, size), iova_of(dst, most)), fields(IAA_SPECIFIC, *IaaSpecific(most=most))
        name = "zero decompress" if back else "zero compress"
        return self._run(Request(_CODECS[width][back], flags, *places, size, 0, rest, name))

    # --- filters ------------------------------------------------------------------------------------------------------

    def scan(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, inputs: int, form: FilterFlags,
        state: Buffer | int, *, how: int = 0, flags: int = 0,
    ) -> T:  # fmt: skip
        """A bit for each of ``inputs`` elements: whether it is within the limits of ``state`` (``filter_state``)."""
        second = (state, FILTER_SIZE, _STATE)
        return self._filter(IaaOpcode.SCAN, dst, most, src, size, inputs, form, second, how, flags)

    def extract(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, inputs: int, form: FilterFlags,
        state: Buffer | int, *, how: int = 0, flags: int = 0,
    ) -> T:  # fmt: skip
        """The elements from the low to the high limit of ``state`` (``filter_state``), counted from 0."""
        second = (state, FILTER_SIZE, _STATE)
        return self._filter(IaaOpcode.EXTRACT, dst, most, src, size, inputs, form, second, how, flags)

    def select(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, inputs: int, form: FilterFlags,
        mask: Buffer | int, mask_size: int, *, how: int = 0, flags: int = 0,
    ) -> T:  # fmt: skip
        """The elements whose bit in ``mask`` is set; ``mask_size``: bytes of it."""
        second = (mask, mask_size, _INPUT)
        return self._filter(IaaOpcode.SELECT, dst, most, src, size, inputs, form, second, how, flags)

    def expand(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, inputs: int, form: FilterFlags,
        mask: Buffer | int, mask_size: int, *, how: int = 0, flags: int = 0,
    ) -> T:  # fmt: skip
        """The elements, with a zero for each zero of ``mask``, of whose elements there are ``inputs``.

        ``mask_size``: bytes of the mask.
        """
        second = (mask, mask_size, _INPUT)
        return self._filter(IaaOpcode.EXPAND, dst, most, src, size, inputs, form, second, how, flags)

    def set_membership(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, inputs: int, form: FilterFlags,
        members: Buffer | int, members_size: int, *, how: int = 0, flags: int = 0,
    ) -> T:  # fmt: skip
        """A bit for each element: whether its bit in ``members`` is set; ``members_size``: bytes of these."""
        second = (members, members_size, _INPUT)
        return self._filter(IaaOpcode.SET_MEMBERSHIP, dst, most, src, size, inputs, form, second, how, flags)

    def find_unique(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, inputs: int, form: FilterFlags,
        *, how: int = 0, flags: int = 0,
    ) -> T:  # fmt: skip
        """A bit for each value that an element can have: whether any of the ``inputs`` elements has it."""
        return self._filter(IaaOpcode.FIND_UNIQUE, dst, most, src, size, inputs, form, (0, 0, 0), how, flags)

    def rle_burst(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, inputs: int, form: FilterFlags,
        values: Buffer | int, values_size: int, *, how: int = 0, flags: int = 0,
    ) -> T:  # fmt: skip
        """Each of ``values`` as often as the run lengths in the source say; ``values_size``: bytes of the values."""
        second = (values, values_size, _INPUT)
        return self._filter(IaaOpcode.RLE_BURST, dst, most, src, size, inputs, form, second, how, flags)

    def _filter(
        self, opcode: IaaOpcode, dst: Buffer | int, most: int, src: Buffer | int, size: int, inputs: int,
        form: FilterFlags, second: tuple[Buffer | int, int, int], how: int, flags: int,
    ) -> T:  # fmt: skip
        place, length, flag = second
        rest = IaaSpecific(iova_of(place, length), most, length, form.packed(), inputs)
        places = iova_of(src, size), iova_of(dst, most)
        name = opcode.name.lower().replace("_", " ")
        return self._run(Request(opcode, flags | flag, *places, size, how, fields(IAA_SPECIFIC, *rest), name))
