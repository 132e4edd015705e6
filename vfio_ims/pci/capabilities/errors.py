# SPDX-License-Identifier: Apache-2.0
"""Advanced Error Reporting: PCIe base spec 6.0, section 7.8.4; PCI_ERR_* in the kernel's pci_regs.h and pciutils."""

from __future__ import annotations

from enum import IntFlag
from typing import Self

from vfio_ims.pci.capabilities.base import ExtendedCapability
from vfio_ims.pci.capabilities.fields import Bits, Flag, MaybeBits

__all__ = ["AdvancedErrorReporting", "Correctable", "Uncorrectable", "error_names"]


class Uncorrectable(IntFlag):
    """Uncorrectable errors: the bits of status, mask and severity."""

    DATA_LINK_PROTOCOL = 1 << 4
    SURPRISE_DOWN = 1 << 5
    POISONED_TLP = 1 << 12
    FLOW_CONTROL_PROTOCOL = 1 << 13
    COMPLETION_TIMEOUT = 1 << 14
    COMPLETER_ABORT = 1 << 15
    UNEXPECTED_COMPLETION = 1 << 16
    RECEIVER_OVERFLOW = 1 << 17
    MALFORMED_TLP = 1 << 18
    ECRC = 1 << 19
    UNSUPPORTED_REQUEST = 1 << 20
    ACS_VIOLATION = 1 << 21
    INTERNAL = 1 << 22
    MC_BLOCKED_TLP = 1 << 23
    ATOMIC_EGRESS_BLOCKED = 1 << 24
    TLP_PREFIX_BLOCKED = 1 << 25
    POISONED_TLP_EGRESS_BLOCKED = 1 << 26
    DMWR_EGRESS_BLOCKED = 1 << 27
    IDE_CHECK = 1 << 28
    MISROUTED_IDE_TLP = 1 << 29
    PCRC_CHECK = 1 << 30
    TRANSLATION_EGRESS_BLOCKED = 1 << 31


class Correctable(IntFlag):
    """Correctable errors: the bits of status and mask."""

    RECEIVER = 1 << 0
    BAD_TLP = 1 << 6
    BAD_DLLP = 1 << 7
    REPLAY_ROLLOVER = 1 << 8
    REPLAY_TIMEOUT = 1 << 12
    ADVISORY_NONFATAL = 1 << 13
    INTERNAL = 1 << 14
    HEADER_LOG_OVERFLOW = 1 << 15


def error_names(kind: type[IntFlag], value: int) -> str:
    """The set bits by name, in words; "none" for 0."""
    known = [item.name.lower() for item in kind if item.name and item & value]
    rest = value & ~sum(kind)
    return ", ".join(known + ([f"{rest:#x}"] if rest else [])) or "none"


def _uncorrectable(value: int) -> str:
    return error_names(Uncorrectable, value)


def _correctable(value: int) -> str:
    return error_names(Correctable, value)


def _dwords(log: int) -> str:
    return " ".join(f"{log >> shift & 0xFFFF_FFFF:08x}" for shift in range(0, 128, 32))


class AdvancedErrorReporting(ExtendedCapability):
    """Which errors happened, which are masked, which are fatal, and the header of the first one's packet.

    The root registers are in root ports and event collectors, the prefix log in version 2 and later.
    """

    capability_id = 0x01
    minimum = 0x2C
    reference = "PCIe 6.0 7.8.4"

    uncorrectable_status = Bits(0x04, 31, 0, access="w1c", words=_uncorrectable)
    uncorrectable_mask = Bits(0x08, 31, 0, access="rw", words=_uncorrectable)
    uncorrectable_severity = Bits(0x0C, 31, 0, access="rw", words=_uncorrectable)
    correctable_status = Bits(0x10, 31, 0, access="w1c", words=_correctable)
    correctable_mask = Bits(0x14, 31, 0, access="rw", words=_correctable)
    first_error = Bits(0x18, 4, 0)
    ecrc_generation_capable = Flag(0x18, 5)
    ecrc_generation_enable = Flag(0x18, 6, access="rw")
    ecrc_check_capable = Flag(0x18, 7)
    ecrc_check_enable = Flag(0x18, 8, access="rw")
    multiple_header_capable = Flag(0x18, 9)
    multiple_header_enable = Flag(0x18, 10)
    prefix_log_present = Flag(0x18, 11)
    completion_timeout_log_capable = Flag(0x18, 12)
    header_log = Bits(0x1C, 127, 0, words=_dwords)
    root_command = MaybeBits(0x2C, 31, 0)
    root_status = MaybeBits(0x30, 31, 0)
    error_source = MaybeBits(0x34, 31, 0)
    prefix_log = MaybeBits(0x38, 127, 0, words=_dwords)

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        version = data[2] & 0xF if len(data) > 2 else 0
        return cls.minimum, 0x48 if version >= 2 else 0x38

    @classmethod
    def new(cls, *, version: int = 2) -> Self:
        """An endpoint's, with the reset values of 7.8.4.3, 7.8.4.4 and 7.8.4.6: internal errors masked."""
        severity = (
            Uncorrectable.DATA_LINK_PROTOCOL
            | Uncorrectable.SURPRISE_DOWN
            | Uncorrectable.FLOW_CONTROL_PROTOCOL
            | Uncorrectable.RECEIVER_OVERFLOW
            | Uncorrectable.MALFORMED_TLP
            | Uncorrectable.INTERNAL
        )
        return cls.make(
            0x48 if version >= 2 else cls.minimum,
            version=version,
            uncorrectable_mask=Uncorrectable.INTERNAL,
            uncorrectable_severity=severity,
            correctable_mask=Correctable.ADVISORY_NONFATAL | Correctable.INTERNAL | Correctable.HEADER_LOG_OVERFLOW,
        )

    @property
    def uncorrectable(self) -> Uncorrectable:
        """Uncorrectable errors that happened."""
        return Uncorrectable(self.uncorrectable_status & sum(Uncorrectable))

    @property
    def correctable(self) -> Correctable:
        """Correctable errors that happened."""
        return Correctable(self.correctable_status & sum(Correctable))

    @property
    def fatal(self) -> Uncorrectable:
        """Those uncorrectable errors that happened and are set to be reported as fatal."""
        return self.uncorrectable & Uncorrectable(self.uncorrectable_severity & sum(Uncorrectable))

    @property
    def first(self) -> Uncorrectable | None:
        """The error that the header log belongs to; None where its status bit is clear (7.8.4.7)."""
        error = Uncorrectable(1 << self.first_error)
        return error if error & self.uncorrectable else None

    @property
    def header(self) -> tuple[int, int, int, int]:
        """The logged packet's header in double words, the first byte highest."""
        first, second, third, fourth = (self.header_log >> shift & 0xFFFF_FFFF for shift in range(0, 128, 32))
        return first, second, third, fourth

    def access_masks(self) -> tuple[bytes, bytes]:
        writable, clears = (bytearray(mask) for mask in super().access_masks())
        for mask, item, kind in (
            (clears, type(self).uncorrectable_status, Uncorrectable),
            (writable, type(self).uncorrectable_mask, Uncorrectable),
            (writable, type(self).uncorrectable_severity, Uncorrectable),
            (clears, type(self).correctable_status, Correctable),
            (writable, type(self).correctable_mask, Correctable),
        ):
            item.write(mask, sum(kind))  # the other bits are reserved
        return bytes(writable), bytes(clears)
