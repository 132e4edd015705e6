# SPDX-License-Identifier: Apache-2.0
"""The first 64 bytes of config space: ids, command, status, class, subsystem, interrupt pin.

Layout: PCIe base spec 6.0, section 7.5.1; the same facts in the kernel's pci_regs.h.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

__all__ = ["Command", "Header", "HeaderType", "Status"]


class HeaderType(IntEnum):
    """Layout of bytes 0x10 to 0x3f."""

    NORMAL, BRIDGE, CARDBUS = range(3)


class Command(IntFlag):
    """Command register, 0x04 (7.5.1.1.3)."""

    IO = 1 << 0
    MEMORY = 1 << 1
    BUS_MASTER = 1 << 2
    SPECIAL = 1 << 3
    INVALIDATE = 1 << 4
    VGA_PALETTE = 1 << 5
    PARITY = 1 << 6
    WAIT = 1 << 7
    SERR = 1 << 8
    FAST_BACK = 1 << 9
    INTX_DISABLE = 1 << 10


class Status(IntFlag):
    """Status register, 0x06 (7.5.1.1.4), without the two bits of DEVSEL timing."""

    IMMEDIATE_READINESS = 1 << 0
    INTX = 1 << 3
    CAPABILITIES = 1 << 4
    MHZ66 = 1 << 5
    FAST_BACK = 1 << 7
    MASTER_PARITY = 1 << 8
    SIGNALED_TARGET_ABORT = 1 << 11
    RECEIVED_TARGET_ABORT = 1 << 12
    RECEIVED_MASTER_ABORT = 1 << 13
    SIGNALED_SYSTEM_ERROR = 1 << 14
    PARITY = 1 << 15


@dataclass(frozen=True, slots=True)
class Header:
    """64 bytes, read on demand. What a bridge's header has no place for is None."""

    data: bytes

    def _u8(self, offset: int) -> int:
        return self.data[offset]

    def _u16(self, offset: int) -> int:
        return int.from_bytes(self.data[offset : offset + 2], "little")

    def u32(self, offset: int) -> int:
        """A register of 32 bits."""
        return int.from_bytes(self.data[offset : offset + 4], "little")

    @property
    def vendor(self) -> int:
        """The vendor's id. 0xffff is what a device that does not answer gives."""
        return self._u16(0x00)

    @property
    def device(self) -> int:
        """The device's id, which is the vendor's choice."""
        return self._u16(0x02)

    @property
    def command(self) -> Command:
        """The command register: memory decoding, bus mastering, INTx off."""
        return Command(self._u16(0x04))

    @property
    def status(self) -> Status:
        """The status register, among it whether there are capabilities."""
        return Status(self._u16(0x06))

    @property
    def revision(self) -> int:
        """The stepping, by the vendor's own numbers."""
        return self._u8(0x08)

    @property
    def class_code(self) -> int:
        """24 bits: class, subclass, programming interface."""
        return self.u32(0x08) >> 8

    @property
    def kind(self) -> HeaderType | None:
        """Which layout the rest has; None for a value that no layout is defined for."""
        code = self._u8(0x0E) & 0x7F
        return HeaderType(code) if code <= HeaderType.CARDBUS else None

    @property
    def multifunction(self) -> bool:
        """Whether the device may have functions besides 0 (header type, bit 7)."""
        return bool(self._u8(0x0E) & 0x80)

    @property
    def subsystem_vendor(self) -> int | None:
        """The id of the board's vendor; None where the layout has none (bridges)."""
        return self._u16(0x2C) if self.kind is HeaderType.NORMAL else None

    @property
    def subsystem_device(self) -> int | None:
        """The board's id; None where the layout has none (bridges)."""
        return self._u16(0x2E) if self.kind is HeaderType.NORMAL else None

    @property
    def has_capabilities(self) -> bool:
        """Whether ``capability_pointer`` means anything (status, bit 4)."""
        return Status.CAPABILITIES in self.status

    @property
    def capability_pointer(self) -> int:
        """Where the standard capabilities start, as it stands there: the two low bits are reserved."""
        return self._u8(0x14 if self.kind is HeaderType.CARDBUS else 0x34)

    @property
    def interrupt_line(self) -> int:
        """What the firmware wrote about the INTx pin's routing; today's kernels go by ACPI."""
        return self._u8(0x3C)

    @property
    def interrupt_pin(self) -> str | None:
        """The INTx pin, "A" to "D"; None: the function has no INTx."""
        pin = self._u8(0x3D)
        return "ABCD"[pin - 1] if 1 <= pin <= 4 else None
