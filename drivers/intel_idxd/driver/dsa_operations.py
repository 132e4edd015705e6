# SPDX-License-Identifier: Apache-2.0
"""DSA's operations. Meanings: Intel DML and accel-config; which a device has is in OPCAP."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, TypeVar

from vfio_ims.errors import UsageError

from ..hardware.descriptors import DsaOpcode, Flag
from ..hardware.dif import FIELD_SIZE, DifTags, block_code
from .operations import Operations, Request, fields, iova_of, repeated

if TYPE_CHECKING:
    from vfio_ims.dma import Buffer

__all__ = ["DsaOperations"]

T = TypeVar("T")
_CREATE = Struct("<QIIB")
_SEED = Struct("<IIQ")
_SIZE, _PLACE = Struct("<I"), Struct("<Q")
_NO_TAGS = DifTags()


class DsaOperations(Operations[T]):
    """Results are in the completion: ``result`` of a comparison (0 equal, 1 different), ``crc``, ``delta_size``.

    ``dst``, ``src``, ``size`` and ``flags`` are as in every operation. Those on blocks with data integrity fields (T10
    DIF), 8 bytes big endian behind each block, have these too:

    - ``block``: bytes of data in a block: 512, 520, 4096 or 4104.
    - ``tags``: what the first block's field has; ``DifTags.flags`` says how fields are checked (``SourceFlag``) or made
    (``DestinationFlag``).
    - ``dif``: ``DifFlag``: whether the guard's seed and result are inverted.
    """

    def drain(self, *, flags: int = 0, readback: Sequence[Buffer | int] = ()) -> T:
        """Completes when everything submitted to the queue before it has completed.

        ``readback``: one or two addresses that the device then reads, so that writes before it have arrived there;
        only where GENCAP has ``drain_readback``.
        """
        if not isinstance(readback, Sequence):
            raise UsageError("prepare an operation", why=f"readback must be a list of places, not {readback!r}")
        if len(readback) > 2:
            why = f"a drain reads back from 2 places at most, not {len(readback)}"
            raise UsageError("prepare an operation", why=why)
        flags |= (0, Flag.DRAIN_READ1, Flag.DRAIN_READ1 | Flag.DRAIN_READ2)[len(readback)]
        first, second = (*(iova_of(place, 1) for place in readback), 0, 0)[:2]
        return self._run(Request(DsaOpcode.DRAIN, flags, first, second, name="drain"))

    def fill(self, dst: Buffer | int, pattern: int | bytes, size: int, *, flags: int = 0) -> T:
        """Fill ``size`` bytes with ``pattern``, 8 bytes that repeat (a number: little endian)."""
        return self._run(Request(DsaOpcode.FILL, flags, repeated(pattern), iova_of(dst, size), size, name="fill"))

    def compare(
        self, first: Buffer | int, second: Buffer | int, size: int, *, expect: int | None = None, flags: int = 0
    ) -> T:
        """Compare ``size`` bytes at ``first`` and ``second``. Of unequal ones ``completed`` says where they differ.

        ``expect`` 0 (equal) or 1 (different): another result is ``Status.FALSE_PREDICATE``, and a fence does not let it
        pass.
        """
        flags, specific = _expecting(expect, flags)
        places = iova_of(first, size), iova_of(second, size)
        return self._run(Request(DsaOpcode.COMPARE, flags, *places, size, specific=specific, name="compare"))

    def compare_pattern(
        self, src: Buffer | int, pattern: int | bytes, size: int, *, expect: int | None = None, flags: int = 0
    ) -> T:
        """Compare ``size`` bytes at ``src`` with ``pattern``, 8 bytes that repeat; ``expect`` as for ``compare``."""
        flags, specific = _expecting(expect, flags)
        places = iova_of(src, size), repeated(pattern)
        return self._run(
            Request(DsaOpcode.COMPARE_PATTERN, flags, *places, size, specific=specific, name="compare pattern")
        )

    def create_delta(
        self,
        first: Buffer | int,
        second: Buffer | int,
        size: int,
        record: Buffer | int,
        record_size: int,
        *,
        expect: int | None = None,
        flags: int = 0,
    ) -> T:
        """Where the ``size`` bytes at ``second`` differ from those at ``first``: entries of 10 bytes into ``record``.

        ``record_size``: the bytes that ``record`` has, 80 or more. ``result``: 0 equal, 1 different, 2 the record is
        too small; ``expect``: a bit for each of these. Sizes in multiples of 8 up to 512 KiB, addresses aligned to 8.
        """
        mask = 7 if expect is None else expect
        flags |= 0 if expect is None else Flag.CHECK_RESULT
        specific = fields(_CREATE, iova_of(record, record_size), record_size, 0, mask)
        places = iova_of(first, size), iova_of(second, size)
        return self._run(Request(DsaOpcode.CREATE_DELTA, flags, *places, size, specific=specific, name="create delta"))

    def apply_delta(self, dst: Buffer | int, record: Buffer | int, record_size: int, size: int, *, flags: int = 0) -> T:
        """Write the entries in ``record`` to the ``size`` bytes at ``dst``.

        ``record_size``: bytes of entries, the ``delta_size`` of the completion that made them.
        """
        places = iova_of(record, record_size), iova_of(dst, size)
        specific = fields(_SIZE, record_size)
        return self._run(Request(DsaOpcode.APPLY_DELTA, flags, *places, size, specific=specific, name="apply delta"))

    def dualcast(self, first: Buffer | int, second: Buffer | int, src: Buffer | int, size: int, *, flags: int = 0) -> T:
        """Copy ``size`` bytes from ``src`` to ``first`` and ``second``, whose addresses are alike in bits 11:0."""
        places = iova_of(src, size), iova_of(first, size)
        specific = fields(_PLACE, iova_of(second, size))
        return self._run(Request(DsaOpcode.DUALCAST, flags, *places, size, specific=specific, name="dualcast"))

    def crc(self, src: Buffer | int, size: int, seed: int = 0, *, seed_at: Buffer | int = 0, flags: int = 0) -> T:
        """CRC-32C, in the completion's ``crc``. ``seed``: the CRC of what came before.

        ``Flag.CRC_READ_SEED`` takes it from memory at ``seed_at``; ``CRC_BARE`` leaves out inversion and reflection of
        seed and result, ``CRC_PLAIN_DATA`` takes bit 7 of each byte first.
        """
        specific = fields(_SEED, seed, 0, iova_of(seed_at, 4))
        return self._run(Request(DsaOpcode.CRC, flags, iova_of(src, size), 0, size, specific=specific, name="CRC"))

    def copy_crc(
        self,
        dst: Buffer | int,
        src: Buffer | int,
        size: int,
        seed: int = 0,
        *,
        seed_at: Buffer | int = 0,
        flags: int = 0,
    ) -> T:
        """Copy, and the CRC-32C of it; ``seed`` and ``seed_at`` are as for ``crc``."""
        specific = fields(_SEED, seed, 0, iova_of(seed_at, 4))
        places = iova_of(src, size), iova_of(dst, size)
        return self._run(Request(DsaOpcode.COPY_CRC, flags, *places, size, specific=specific, name="copy with CRC"))

    # --- data integrity fields ----------------------------------------------------------------------------------------

    def dif_check(
        self, src: Buffer | int, size: int, block: int, tags: DifTags = _NO_TAGS, *, dif: int = 0, flags: int = 0
    ) -> T:
        """Check the fields behind each block of ``block`` bytes. ``size`` counts the fields, too.

        A wrong one ends the operation with ``Status.DIF``; ``result`` says which of ``DifError`` it was.
        """
        specific = _dif(block, dif, source=tags)
        return self._run(Request(DsaOpcode.DIF_CHECK, flags, iova_of(src, size), 0, size, 0, specific, "DIF check"))

    def dif_insert(
        self,
        dst: Buffer | int,
        src: Buffer | int,
        size: int,
        block: int,
        tags: DifTags = _NO_TAGS,
        *,
        dif: int = 0,
        flags: int = 0,
    ) -> T:
        """Copy, with a field made of ``tags`` behind each block. ``size`` is the source's, without fields."""
        specific = _dif(block, dif, target=tags)
        places = iova_of(src, size), iova_of(dst, size + size // block * FIELD_SIZE)
        return self._run(Request(DsaOpcode.DIF_INSERT, flags, *places, size, 0, specific, "DIF insert"))

    def dif_strip(
        self,
        dst: Buffer | int,
        src: Buffer | int,
        size: int,
        block: int,
        tags: DifTags = _NO_TAGS,
        *,
        dif: int = 0,
        flags: int = 0,
    ) -> T:
        """Check against ``tags``, and copy without the fields. ``size`` is the source's, with fields."""
        specific = _dif(block, dif, source=tags)
        places = iova_of(src, size), iova_of(dst, size - size // (block + FIELD_SIZE) * FIELD_SIZE)
        return self._run(Request(DsaOpcode.DIF_STRIP, flags, *places, size, 0, specific, "DIF strip"))

    def dif_update(
        self,
        dst: Buffer | int,
        src: Buffer | int,
        size: int,
        block: int,
        tags: DifTags = _NO_TAGS,
        new: DifTags = _NO_TAGS,
        *,
        dif: int = 0,
        flags: int = 0,
    ) -> T:
        """Check against ``tags``, and copy with fields made of ``new``.

        ``size`` counts the fields, which both sides have.
        """
        specific = _dif(block, dif, source=tags, target=new)
        places = iova_of(src, size), iova_of(dst, size)
        return self._run(Request(DsaOpcode.DIF_UPDATE, flags, *places, size, 0, specific, "DIF update"))

    def dix_generate(
        self,
        dst: Buffer | int,
        src: Buffer | int,
        size: int,
        block: int,
        tags: DifTags = _NO_TAGS,
        *,
        dif: int = 0,
        flags: int = 0,
    ) -> T:
        """Write only the fields of each block of ``src`` to ``dst``, one after the other. Version 2 and later."""
        specific = _dif(block, dif, target=tags)
        places = iova_of(src, size), iova_of(dst, size // block * FIELD_SIZE)
        return self._run(Request(DsaOpcode.DIX_GENERATE, flags, *places, size, 0, specific, "DIX generation"))

    # --- caches and translations --------------------------------------------------------------------------------------

    def cache_flush(self, dst: Buffer | int, size: int, *, flags: int = 0) -> T:
        """Write the range's cache lines back; without ``Flag.CACHE_CONTROL`` they are also invalidated."""
        return self._run(Request(DsaOpcode.CACHE_FLUSH, flags, 0, iova_of(dst, size), size, name="cache flush"))

    def translation_fetch(self, src: Buffer | int, size: int, *, stride: int = 0, flags: int = 0) -> T:
        """Have the device translate the addresses of a region ahead of their use; nothing is read.

        Version 2 and later.

        ``stride``: bytes from one address to the next; 0: the device's choice.
        """
        specific = bytes(8) + fields(_SIZE, stride)
        return self._run(
            Request(DsaOpcode.TRANSLATION_FETCH, flags, iova_of(src, size), 0, size, 0, specific, "translation fetch")
        )


def _expecting(expect: int | None, flags: int) -> tuple[int, bytes]:
    if expect is None:
        return flags, b""
    if expect not in (0, 1):
        raise UsageError("prepare an operation", why=f"expect must be None, 0 or 1, not {expect!r}")
    return flags | Flag.CHECK_RESULT, bytes((expect,))


def _dif(block: int, dif: int, *, source: DifTags = _NO_TAGS, target: DifTags = _NO_TAGS) -> bytes:
    for tags in (source, target):
        if not isinstance(tags, DifTags):
            raise UsageError("prepare an operation", why=f"tags must be DifTags, not {tags!r}")
    head = bytes((source.flags, target.flags, block_code(block, dif))) + bytes(5)
    return head + source.packed() + target.packed()
