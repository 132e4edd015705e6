# SPDX-License-Identifier: Apache-2.0
"""The vfio-user wire format: headers, commands, and how a payload is declared. Pure: bytes in, values out.

Source: QEMU ``docs/interop/vfio-user.rst`` (protocol 0.0 and 0.1), and libvfio-user ``include/vfio-user.h`` for the
flags that the text leaves out. All numbers are in the host's byte order, without padding.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from struct import Struct
from typing import NoReturn

from vfio_ims.counted import counted

__all__ = [
    "COMMAND",
    "ERROR",
    "HEADER",
    "MAX_MESSAGE",
    "MAX_TRANSFER",
    "NO_REPLY",
    "REPLY",
    "TYPE_MASK",
    "Command",
    "Layout",
    "Refused",
    "WireError",
    "explain_errno",
    "malformed",
    "name_of",
]


class Command(IntEnum):
    """What a message asks for. DMA_READ and DMA_WRITE go from server to client, all others from client to server.

    14 was DIRTY_PAGES in drafts and is not used.
    """

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11
    DMA_WRITE = 12
    DEVICE_RESET = 13
    REGION_WRITE_MULTI = 15
    DEVICE_FEATURE = 16
    MIG_DATA_READ = 17
    MIG_DATA_WRITE = 18


def name_of(command: int) -> str:
    """The command's name, or its number where it has none."""
    try:
        return Command(command).name
    except ValueError:
        return f"command {command}"


# Header flags: the low four bits are the message's type.
TYPE_MASK = 0xF
COMMAND, REPLY = 0, 1
NO_REPLY = 0x10
ERROR = 0x20


class WireError(ValueError):
    """A message that breaks the protocol. ``field`` is the name of what is wrong."""

    def __init__(self, field: str, rule: str, value: object) -> None:
        super().__init__(f"{field} must be {rule}, not {value!r}")
        self.field = field


def malformed(field: str, rule: str, value: object) -> NoReturn:
    """Raise WireError: ``field`` must be ``rule``, not ``value``."""
    raise WireError(field, rule, value)


class Refused(Exception):
    """A request that is answered with ``errno`` instead of being done."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.errno = number


def explain_errno(number: int) -> tuple[int, str]:
    """An errno from the other side, and its text. What cannot be one is read as EINVAL, as libvfio-user reads it."""
    number = number if 0 < number < 4096 else errno.EINVAL
    return number, os.strerror(number)


class Layout:
    """A payload's fixed part: numbers packed as ``form`` says, with their names in the same order. More may follow."""

    def __init__(self, form: str, names: str) -> None:
        self.form, self.names = form, tuple(names.split())
        self._struct = Struct("=" + form)
        self.size = self._struct.size
        self.pack = self._struct.pack
        self.unpack_from = self._struct.unpack_from  # unchecked: for who has looked at the length

    def unpack(self, payload: bytes, at: int = 0) -> tuple[int, ...]:
        """The numbers at ``at``. Raises WireError where the payload is too short for them."""
        if len(payload) < at + self.size:
            malformed("message size", f"at least {counted(at + self.size, 'byte')} of payload", len(payload))
        return self._struct.unpack_from(payload, at)


HEADER = Layout("HHIII", "id command size flags error")
"""Before every message. ``size`` counts the header; ``error`` is an errno, valid with the ERROR bit."""

MAX_TRANSFER = 1 << 20
"""Bytes of data in one message: the protocol's default ``max_data_xfer_size``."""
MAX_MESSAGE = HEADER.size + 16 + MAX_TRANSFER
"""The longest message that either side takes: a write of that much data to a region or to memory."""
