# SPDX-License-Identifier: Apache-2.0
"""What the device reports of one operation."""

from __future__ import annotations

from struct import unpack_from

from vfio_ims.counted import counted
from vfio_ims.native.memory import view_of

from .dif import DifError, DifTags
from .iaa_flags import IaaOutcome
from .status import FAULT_WAS_WRITE, STATUS_CODE, IaaError, IaaStatus, Status, status_text

__all__ = ["Completion"]

_FINE = (Status.SUCCESS, Status.FALSE_PREDICATE)
_FAULTS = (
    Status.PAGE_FAULT,
    Status.PAGE_REQUEST,
    Status.BATCH_PAGE_FAULT,
    Status.READBACK_FAULT,
    Status.TRANSLATION,
)


class Completion:
    """A completion record, as it was read: a snapshot."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def read(cls, address: int, size: int) -> Completion:
        """The record of ``size`` bytes that the device has written to ``address``."""
        return cls(view_of(address, size).tobytes())

    @property
    def status(self) -> int:
        """The status code, without the bit of a write fault."""
        return self.data[0] & STATUS_CODE

    @property
    def ok(self) -> bool:
        return self.status in _FINE

    @property
    def result(self) -> int:
        """The operation's result byte."""
        return self.data[1]

    @property
    def completed(self) -> int:
        """Bytes (of a batch: descriptors) that were done; the device reports it when it did not do all."""
        return int(unpack_from("<I", self.data, 4)[0])

    @property
    def fault(self) -> int:
        """The address that could not be reached."""
        return int(unpack_from("<Q", self.data, 8)[0])

    @property
    def fault_was_write(self) -> bool:
        return bool(self.data[0] & FAULT_WAS_WRITE)

    @property
    def invalid_flags(self) -> int:
        return int(unpack_from("<I", self.data, 16)[0]) & 0xFFFFFF if self.status == Status.FLAGS else 0

    @property
    def crc(self) -> int:
        """The CRC, of an operation that makes one."""
        return self.word(16)

    @property
    def delta_size(self) -> int:
        """Bytes of the delta record that was created."""
        return self.word(16)

    @property
    def crc64(self) -> int:
        """The CRC of IAA's CRC64."""
        return self.word(40, 8)

    @property
    def outcome(self) -> IaaOutcome:
        """Output size, checksums and aggregates of IAA's operations."""
        return IaaOutcome.unpacked(self.data[16:48])

    @property
    def more_output(self) -> bool:
        """Whether IAA had more output than room."""
        return self.status == IaaStatus.OUTPUT_OVERFLOW

    @property
    def source_tags(self) -> DifTags:
        """The tags that the next source block must have."""
        return DifTags.unpacked(self.data[16:24])

    @property
    def target_tags(self) -> DifTags:
        """The tags that the next destination block gets."""
        return DifTags.unpacked(self.data[24:32])

    def word(self, offset: int, width: int = 4) -> int:
        """A number of the operation's own part."""
        return int.from_bytes(self.data[offset : offset + width], "little")

    def __str__(self) -> str:
        text = status_text(self.data[0])
        if self.status in _FAULTS:
            text += f" at {self.fault:#x} after {counted(self.completed, 'byte')}"
        elif self.status == Status.DIF:
            wrong = [one.name.lower().replace("_", " ") for one in DifError if self.result & one]
            text += f": {', '.join(wrong)} at byte {self.completed}"
        elif self.status == IaaStatus.ANALYTICS and self.result in set(IaaError):
            text += f": {IaaError(self.result)}"
        elif self.invalid_flags:
            text += f": {self.invalid_flags:#x}"
        return text

    def __repr__(self) -> str:
        return f"<Completion {self}>"
