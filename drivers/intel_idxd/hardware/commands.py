# SPDX-License-Identifier: Apache-2.0
"""The command register's vocabulary. Numbers: Linux ``drivers/dma/idxd/registers.h`` and ``device.c``."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["COMMAND_ERRORS", "IMS_HANDLE", "Command", "CommandError", "error_text", "queue_operand"]

IMS_HANDLE = 1 << 16
"""In the operand of the interrupt-handle commands: the IMS table, not MSI-X."""


class Command(IntEnum):
    """CMD 24:20."""

    ENABLE_DEVICE = 1
    DISABLE_DEVICE = 2
    DRAIN_ALL = 3
    ABORT_ALL = 4
    RESET_DEVICE = 5
    ENABLE_QUEUE = 6
    DISABLE_QUEUE = 7
    DRAIN_QUEUE = 8
    ABORT_QUEUE = 9
    RESET_QUEUE = 10
    DRAIN_PASID = 11
    ABORT_PASID = 12
    REQUEST_HANDLE = 13
    RELEASE_HANDLE = 14


class CommandError(IntEnum):
    """CMDSTS 7:0."""

    NONE = 0x00
    COMMAND = 0x01
    QUEUE_INDEX = 0x02
    HARDWARE = 0x03
    RESERVED = 0x04
    DEVICE_ENABLED = 0x10
    CONFIGURATION = 0x11
    BUS_MASTER = 0x12
    PRS_ALLOCATION = 0x13
    TOTAL_SIZE = 0x14
    GROUP_EMPTY = 0x15
    GROUP_QUEUES = 0x16
    GROUP_ENGINES = 0x17
    GROUP_READ_BUFFERS = 0x18
    DEVICE_NOT_ENABLED = 0x20
    QUEUE_ENABLED = 0x21
    QUEUE_SIZE = 0x22
    QUEUE_PRIORITY = 0x23
    QUEUE_MODE = 0x24
    BLOCK_ON_FAULT = 0x25
    PASID_ENABLE = 0x26
    MAX_BATCH = 0x27
    MAX_TRANSFER = 0x28
    PRIVILEGED = 0x2A
    OCCUPANCY_HANDLE = 0x2B
    QUEUE_ATS = 0x2C
    NOT_ENABLED = 0x31
    QUEUE_NOT_ENABLED = 0x32
    HANDLE_INDEX = 0x41
    NO_HANDLE = 0x42
    HANDLE_UNKNOWN = 0x43
    NOT_REVOKED = 0x44


COMMAND_ERRORS = {
    CommandError.NONE: "no error",
    CommandError.COMMAND: "the device knows no such command",
    CommandError.QUEUE_INDEX: "it has no such work queue",
    CommandError.HARDWARE: "an error inside the hardware",
    CommandError.RESERVED: "a reserved field of the command is not zero",
    CommandError.DEVICE_ENABLED: "the device is not disabled",
    CommandError.CONFIGURATION: "the configuration has an error that it does not name",
    CommandError.BUS_MASTER: "bus mastering is off in config space",
    CommandError.PRS_ALLOCATION: "the page request allocation is not supported (Linux' header: PASID is invalid)",
    CommandError.TOTAL_SIZE: "the sizes of the work queues exceed the device's entries",
    CommandError.GROUP_EMPTY: "a group has work queues but no engine, or engines but no work queue",
    CommandError.GROUP_QUEUES: "a work queue is in two groups, or has a size and no group",
    CommandError.GROUP_ENGINES: "an engine is in two groups, or does not exist",
    CommandError.GROUP_READ_BUFFERS: "a group's read buffers do not add up",
    CommandError.DEVICE_NOT_ENABLED: "the device is not enabled",
    CommandError.QUEUE_ENABLED: "the work queue is not disabled",
    CommandError.QUEUE_SIZE: "the work queue's size is 0",
    CommandError.QUEUE_PRIORITY: "the work queue's priority is 0",
    CommandError.QUEUE_MODE: "the work queue's mode is not supported",
    CommandError.BLOCK_ON_FAULT: "the device cannot block on faults",
    CommandError.PASID_ENABLE: "the work queue's PASID setting does not go with the function's",
    CommandError.MAX_BATCH: "the work queue's largest batch exceeds the device's",
    CommandError.MAX_TRANSFER: "the work queue's largest transfer exceeds the device's",
    CommandError.PRIVILEGED: "privileged mode is not enabled in the PASID capability",
    CommandError.OCCUPANCY_HANDLE: "the work queue's occupancy interrupt has an invalid table or handle",
    CommandError.QUEUE_ATS: "the work queue's ATS setting does not go with the others",
    CommandError.NOT_ENABLED: "the device is not enabled",
    CommandError.QUEUE_NOT_ENABLED: "the device or a work queue is not enabled",
    CommandError.HANDLE_INDEX: "the interrupt table has no such entry",
    CommandError.NO_HANDLE: "no interrupt handle is available",
    CommandError.HANDLE_UNKNOWN: "the index has no interrupt handle",
    CommandError.NOT_REVOKED: "the index has no revoked interrupt handle",
}
"""What CMDSTS says, in our words. Meanings from 0x04 on beyond Linux' names: Intel's accel-config."""


def error_text(code: int) -> str:
    """``code`` and what it means."""
    try:
        return f"{COMMAND_ERRORS[CommandError(code)]} (CMDSTS error {code:#x})"
    except ValueError:
        return f"CMDSTS error {code:#x}, which no public source names"


def queue_operand(queue: int) -> int:
    """The operand of disable, drain, abort and reset for one queue: a bit of 15:0 in the group of 16 of 19:16."""
    return 1 << queue % 16 | queue // 16 << 16
