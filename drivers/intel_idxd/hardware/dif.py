# SPDX-License-Identifier: Apache-2.0
"""Data integrity fields (T10 DIF): how DSA's descriptors ask for them. Pure; shared by driver and model.

A field of 8 bytes, big endian, follows each block: guard (CRC-16/T10-DIF of the block), application tag, reference
tag. Flag positions: Intel DML, ``include/dml/dmldefs.h``; layout: accel-config, ``accfg/idxd.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from vfio_ims.errors import UsageError

__all__ = ["BLOCK_SIZES", "FIELD_SIZE", "DestinationFlag", "DifError", "DifFlag", "DifTags", "SourceFlag"]

BLOCK_SIZES = (512, 520, 4096, 4104)
FIELD_SIZE = 8


class DifFlag(IntEnum):
    """Beside the block size in bits 1:0."""

    INVERT_SEED = 1 << 2
    INVERT_RESULT = 1 << 3


class SourceFlag(IntEnum):
    """How the fields of the source are checked. The F conditions skip a block's check: all its tags are ones."""

    F_IS_ERROR = 1 << 0
    F_ALL = 1 << 1
    F_APP_TAG = 1 << 2
    F_TAGS = 1 << 3
    INCREMENT_APP_TAG = 1 << 4
    NO_GUARD_CHECK = 1 << 5
    NO_REF_TAG_CHECK = 1 << 6
    FIXED_REF_TAG = 1 << 7


class DestinationFlag(IntEnum):
    """How the fields of the destination are made."""

    PASS_APP_TAG = 1 << 3
    INCREMENT_APP_TAG = 1 << 4
    PASS_GUARD = 1 << 5
    PASS_REF_TAG = 1 << 6
    FIXED_REF_TAG = 1 << 7


class DifError(IntEnum):
    """Bits of the completion record's result byte."""

    GUARD = 1 << 0
    APP_TAG = 1 << 1
    REF_TAG = 1 << 2
    ALL_ONES = 1 << 3


_TAGS = Struct("<IHH")


@dataclass(frozen=True, slots=True)
class DifTags:
    """Tags of the first block. ``app_mask``: bits that are not checked, and are written as 0 (SPDK's use of it).

    ``flags``: of the source or of the destination, whichever these tags belong to.
    """

    ref: int = 0
    app: int = 0
    app_mask: int = 0
    flags: int = 0

    def packed(self) -> bytes:
        """As descriptors and records have them."""
        return _TAGS.pack(self.ref, self.app_mask, self.app)

    @classmethod
    def unpacked(cls, data: bytes, flags: int = 0) -> DifTags:
        ref, mask, app = _TAGS.unpack(data)
        return cls(ref, app, mask, flags)

    def after(self, blocks: int, *, fixed_ref: bool, increment_app: bool) -> DifTags:
        """The tags ``blocks`` blocks later."""
        return DifTags(
            self.ref if fixed_ref else (self.ref + blocks) & 0xFFFF_FFFF,
            (self.app + blocks) & 0xFFFF if increment_app else self.app,
            self.app_mask,
            self.flags,
        )


def block_code(block: int, flags: int = 0) -> int:
    """The descriptor's byte for blocks of ``block`` bytes."""
    if block not in BLOCK_SIZES:
        why = f"a block must have {', '.join(map(str, BLOCK_SIZES))} bytes, not {block}"
        raise UsageError("prepare an operation", why=why)
    return BLOCK_SIZES.index(block) | flags
