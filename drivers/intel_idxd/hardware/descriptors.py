# SPDX-License-Identifier: Apache-2.0
"""Descriptors and completion records. Layout: Intel's accel-config, ``accfg/idxd.h``; Linux ``uapi/linux/idxd.h``."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

__all__ = [
    "DESCRIPTOR",
    "DESCRIPTOR_SIZE",
    "RECORD_SIZE",
    "SPECIFIC_SIZE",
    "Descriptor",
    "DsaOpcode",
    "Flag",
    "IaaOpcode",
    "encode",
]

DESCRIPTOR_SIZE = 64
SPECIFIC_SIZE = 24
RECORD_SIZE = {"dsa": 32, "iaa": 64}
"""A completion record's size, which is its alignment too."""

DESCRIPTOR = Struct("<IIQQQIHH24s")
"""pasid and priv; flags and opcode; record; source; destination; size; interrupt handle; IAA's flags; the rest."""


class Flag(IntEnum):
    """Descriptor bits 55:32; ``|`` of them is a plain number. Bits 23:16 are the operation's own.

    CRC: read the seed from memory; leave out inversion and reflection; take bit 7 of each byte first. Drain: read back
    from the first and the second address; leave out the readback of traffic class A, B (Intel DML,
    ``specific_flags.hpp``). IAA: what the second source is (state or input), when the state is written back, another
    checksum, read the second state and write the first (QPL, ``own_hw_definitions.h``).
    """

    FENCE = 1 << 0
    BLOCK_ON_FAULT = 1 << 1
    RECORD_VALID = 1 << 2
    RECORD_ALWAYS = 1 << 3
    INTERRUPT = 1 << 4
    RECORD_STEERING = 1 << 5
    CHECK_RESULT = 1 << 7
    CACHE_CONTROL = 1 << 8
    ADDRESS1_CLASS = 1 << 9
    ADDRESS2_CLASS = 1 << 10
    ADDRESS3_CLASS = 1 << 11
    RECORD_CLASS = 1 << 12
    STRICT_ORDERING = 1 << 13
    READBACK = 1 << 14
    STEERING = 1 << 15
    DRAIN_READ1 = 1 << 16
    DRAIN_READ2 = 1 << 17
    DRAIN_SKIP_A = 1 << 18
    DRAIN_SKIP_B = 1 << 19
    CRC_READ_SEED = 1 << 16
    CRC_BARE = 1 << 17
    CRC_PLAIN_DATA = 1 << 18
    IAA_READ_SOURCE2 = 1 << 16
    IAA_SOURCE2_SECOND = 1 << 17
    IAA_WRITE_SOURCE2 = 1 << 18
    IAA_WRITE_AT_OVERFLOW = 1 << 19
    IAA_CRC32C = 1 << 21
    IAA_STATE_SECOND = 1 << 22


class DsaOpcode(IntEnum):
    """DSA's operations: byte 7 of a descriptor, and the bit in OPCAP."""

    NOP = 0x00
    BATCH = 0x01
    DRAIN = 0x02
    MEMMOVE = 0x03
    FILL = 0x04
    COMPARE = 0x05
    COMPARE_PATTERN = 0x06
    CREATE_DELTA = 0x07
    APPLY_DELTA = 0x08
    DUALCAST = 0x09
    TRANSLATION_FETCH = 0x0A
    CRC = 0x10
    COPY_CRC = 0x11
    DIF_CHECK = 0x12
    DIF_INSERT = 0x13
    DIF_STRIP = 0x14
    DIF_UPDATE = 0x15
    DIX_GENERATE = 0x17
    CACHE_FLUSH = 0x20
    UPDATE_WINDOW = 0x21


class IaaOpcode(IntEnum):
    """IAA's operations: byte 7 of a descriptor, and the bit in OPCAP."""

    NOP = 0x00
    DRAIN = 0x02
    MEMMOVE = 0x03
    TRANSLATION_FETCH = 0x0A
    DECRYPT = 0x40
    ENCRYPT = 0x41
    DECOMPRESS = 0x42
    COMPRESS = 0x43
    CRC64 = 0x44
    ZDECOMPRESS32 = 0x48
    ZDECOMPRESS16 = 0x49
    ZDECOMPRESS8 = 0x4A
    ZCOMPRESS32 = 0x4C
    ZCOMPRESS16 = 0x4D
    ZCOMPRESS8 = 0x4E
    SCAN = 0x50
    SET_MEMBERSHIP = 0x51
    EXTRACT = 0x52
    SELECT = 0x53
    RLE_BURST = 0x54
    FIND_UNIQUE = 0x55
    EXPAND = 0x56


class Descriptor(NamedTuple):
    """The 64 bytes, taken apart. ``source`` and ``destination`` are also pattern, list or second source."""

    pasid: int
    flags: int
    opcode: int
    record: int
    source: int
    destination: int
    size: int
    handle: int
    extra: int
    specific: bytes
    privileged: bool = False
    reserved: int = 0

    @classmethod
    def decode(cls, data: bytes) -> Descriptor:
        who, what, record, source, destination, size, handle, extra, specific = DESCRIPTOR.unpack(data)
        return cls(
            who & 0xFFFFF,
            what & 0xFFFFFF,
            what >> 24,
            record,
            source,
            destination,
            size,
            handle,
            extra,
            specific,
            bool(who >> 31),
            who >> 20 & 0x7FF,
        )


def encode(
    opcode: int,
    flags: int = 0,
    *,
    record: int = 0,
    source: int = 0,
    destination: int = 0,
    size: int = 0,
    handle: int = 0,
    extra: int = 0,
    specific: bytes = b"",
    pasid: int = 0,
) -> bytes:
    """The 64 bytes of a descriptor. ``specific`` is padded with zeros to 24 bytes."""
    return DESCRIPTOR.pack(pasid, flags | opcode << 24, record, source, destination, size, handle, extra, specific)
