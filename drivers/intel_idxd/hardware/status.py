# SPDX-License-Identifier: Apache-2.0
"""Completion status codes of DSA and IAA.

Numbers: Intel's accel-config, ``accfg/idxd.h``; meanings: Intel DML, ``status.hpp``, and QPL, ``hw_status.h``. Which
one the model gives for what is in the folder's README.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["FAULT_WAS_WRITE", "STATUS_CODE", "IaaError", "IaaStatus", "Status", "status_text"]

STATUS_CODE, FAULT_WAS_WRITE = 0x7F, 0x80
"""The two parts of a record's status byte."""


class Status(IntEnum):
    """Byte 0 of a completion record, without bit 7."""

    NONE = 0x00
    SUCCESS = 0x01
    FALSE_PREDICATE = 0x02
    PAGE_FAULT = 0x03
    PAGE_REQUEST = 0x04
    BATCH_FAILED = 0x05
    BATCH_PAGE_FAULT = 0x06
    DELTA_ORDER = 0x07
    DELTA_OFFSET = 0x08
    DIF = 0x09
    OPCODE = 0x10
    FLAGS = 0x11
    RESERVED = 0x12
    SIZE = 0x13
    COUNT = 0x14
    DELTA_SIZE = 0x15
    OVERLAP = 0x16
    DUALCAST_ALIGN = 0x17
    LIST_ALIGN = 0x18
    INTERRUPT_HANDLE = 0x19
    COMPLETION_ADDRESS = 0x1A
    COMPLETION_ALIGN = 0x1B
    ADDRESS_ALIGN = 0x1C
    PRIVILEGE = 0x1D
    TRAFFIC_CLASS = 0x1E
    READBACK_FAULT = 0x1F
    HARDWARE = 0x20
    HARDWARE_READBACK = 0x21
    TRANSLATION = 0x22


class IaaStatus(IntEnum):
    """Codes that IAA alone has. Linux' header and QPL; an older accel-config has the overflow at 5."""

    ANALYTICS = 0x0A
    OUTPUT_OVERFLOW = 0x0B
    PRS_TIMEOUT = 0x23
    WATCHDOG = 0x24
    COMPRESS_FLAGS = 0x30
    FILTER_FLAGS = 0x31
    INPUT_SIZE = 0x32
    INPUTS = 0x33
    SOURCE_WIDTH = 0x34
    INVERT_OUTPUT = 0x35


class IaaError(IntEnum):
    """Byte 1 of a record with ``IaaStatus.ANALYTICS``: what exactly (QPL, ``hw_status.h``)."""

    LONG_HEADER = 1
    CODE_LENGTH = 2
    REPEATED_NOTHING = 3
    NO_LITERALS = 5
    LITERAL_COUNT = 6
    CODE_LENGTHS = 8
    LITERAL_LENGTHS = 9
    DISTANCE_LENGTHS = 10
    LITERAL_CODE = 11
    DISTANCE_CODE = 12
    BLOCK_TYPE = 13
    STORED_SIZE = 14
    NOT_AT_END = 15
    FAR_DISTANCE = 17
    BEFORE_START = 18
    RUN_LENGTHS = 20
    OUTPUT_WIDTH = 21
    STATE = 22
    SHORT_SOURCE1 = 23
    SHORT_SOURCE2 = 24
    NO_ROOM = 25
    NO_CODE = 30
    RUN_WIDTH = 31
    MANY_LITERALS = 35
    MANY_DISTANCES = 36

    def __str__(self) -> str:
        return _ERRORS[self]


_ERRORS: dict[int, str] = {
    IaaError.LONG_HEADER: "a block's header is too long for the state that is kept between jobs",
    IaaError.CODE_LENGTH: "no such code for a code's length",
    IaaError.REPEATED_NOTHING: "the first code length repeats the one before it",
    IaaError.NO_LITERALS: "no literal has a code",
    IaaError.LITERAL_COUNT: "the code lengths are not as many as announced",
    IaaError.CODE_LENGTHS: "the codes for code lengths contradict each other",
    IaaError.LITERAL_LENGTHS: "the codes for literals and lengths contradict each other",
    IaaError.DISTANCE_LENGTHS: "the codes for distances contradict each other",
    IaaError.LITERAL_CODE: "no such code for a literal or length",
    IaaError.DISTANCE_CODE: "no such code for a distance",
    IaaError.BLOCK_TYPE: "a block of type 3",
    IaaError.STORED_SIZE: "a stored block's size does not match its complement",
    IaaError.NOT_AT_END: "the input does not end with the end of a block",
    IaaError.FAR_DISTANCE: "a match from further back than 4 KiB",
    IaaError.BEFORE_START: "a match from before the start",
    IaaError.RUN_LENGTHS: "the run lengths are damaged or end too early",
    IaaError.OUTPUT_WIDTH: "an element is wider than the output's elements",
    IaaError.STATE: "the state holds what it cannot",
    IaaError.SHORT_SOURCE1: "the source has fewer elements than asked for",
    IaaError.SHORT_SOURCE2: "the second source has fewer elements than needed",
    IaaError.NO_ROOM: "the compressed data does not fit",
    IaaError.NO_CODE: "the state has no code for something in the data",
    IaaError.RUN_WIDTH: "elements of more than 32 bits",
    IaaError.MANY_LITERALS: "more than 286 codes for literals and lengths",
    IaaError.MANY_DISTANCES: "more than 30 codes for distances",
}

_TEXT: dict[int, str] = {
    Status.NONE: "not completed",
    Status.SUCCESS: "success",
    Status.FALSE_PREDICATE: "success, and the result is not the expected one",
    Status.PAGE_FAULT: "page fault",
    Status.PAGE_REQUEST: "the page request was answered with an error",
    Status.BATCH_FAILED: "one or more descriptors of the batch failed",
    Status.BATCH_PAGE_FAULT: "page fault on the descriptor list",
    Status.DELTA_ORDER: "the delta record's offsets do not increase",
    Status.DELTA_OFFSET: "an offset of the delta record is beyond the data",
    Status.DIF: "the data's integrity fields are wrong",
    Status.OPCODE: "unsupported operation",
    Status.FLAGS: "a flag is not supported or not allowed",
    Status.RESERVED: "a reserved field is not zero",
    Status.SIZE: "the transfer size is out of range",
    Status.COUNT: "the descriptor count is out of range",
    Status.DELTA_SIZE: "the delta record's size is out of range",
    Status.OVERLAP: "the buffers overlap",
    Status.DUALCAST_ALIGN: "bits 11:0 of the two destinations differ",
    Status.LIST_ALIGN: "the descriptor list is not aligned to 64 bytes",
    Status.INTERRUPT_HANDLE: "invalid interrupt handle: no such entry, or its PASID does not match",
    Status.COMPLETION_ADDRESS: "page fault on the completion record",
    Status.COMPLETION_ALIGN: "the completion record is not aligned",
    Status.ADDRESS_ALIGN: "an address or size is not aligned as it must be",
    Status.PRIVILEGE: "the privilege of descriptor and queue differ",
    Status.TRAFFIC_CLASS: "the traffic class is not configured correctly",
    Status.READBACK_FAULT: "page fault on the readback address",
    Status.HARDWARE: "hardware error",
    Status.HARDWARE_READBACK: "hardware error on the destination readback",
    Status.TRANSLATION: "an address could not be translated",
    IaaStatus.ANALYTICS: "the data or the tables for it are damaged",
    IaaStatus.OUTPUT_OVERFLOW: "the output does not fit",
    IaaStatus.PRS_TIMEOUT: "the page request was not answered in time",
    IaaStatus.WATCHDOG: "the operation took too long",
    IaaStatus.COMPRESS_FLAGS: "a flag for compressing or decompressing is not supported",
    IaaStatus.FILTER_FLAGS: "a filter flag is not supported",
    IaaStatus.INPUT_SIZE: "the input's size is out of range",
    IaaStatus.INPUTS: "the number of elements does not go with the input",
    IaaStatus.SOURCE_WIDTH: "the elements' width does not go with the operation",
    IaaStatus.INVERT_OUTPUT: "the output of this operation cannot be inverted",
}


def status_text(code: int) -> str:
    """What a status byte says."""
    number = code & STATUS_CODE
    text = _TEXT.get(number, "which no public source names")
    return f"status {number:#x}: {text}" + (" (on a write)" if code & FAULT_WAS_WRITE else "")
