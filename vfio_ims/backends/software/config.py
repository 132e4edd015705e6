# SPDX-License-Identifier: Apache-2.0
"""Config space as vfio-pci shows it: some capabilities hidden, BARs and INTx disable virtual, few bits writable.

Facts: the kernel's drivers/vfio/pci/vfio_pci_config.c (pci_cap_length, pci_ext_cap_length, init_pci_cap_*_perm).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from vfio_ims.pci import Capabilities, Command, ConfigSource, ConfigSpace, decode
from vfio_ims.pci.capabilities import Capability, PowerState
from vfio_ims.pci.config import EXTENDED_START, FULL_SIZE
from vfio_ims.ports.values import RegionIndex

__all__ = ["ConfigDoor", "SoftwareConfig"]

# Bridges' and legacy kinds, and whatever the kernel does not know, are left out of the user's lists.
_SHOWN = frozenset({0x01, 0x02, 0x03, 0x05, 0x07, 0x08, 0x09, 0x10, 0x11, 0x12, 0x13})
_SHOWN_EXTENDED = frozenset(
    {0x01, 0x02, 0x03, 0x04, 0x08, 0x09, 0x0B, 0x0D, 0x0E, 0x0F, 0x10, 0x12, 0x13, 0x15, 0x16, 0x17, 0x18, 0x23}
)
_PASID = 0x1B
_RAW = frozenset({0x09})  # vendor-specific: read and written as it is
_RAW_EXTENDED = frozenset({0x0B, 0x23})
_COMMAND = 0x04


class ConfigDoor(Protocol):
    """The part of a link that config space needs."""

    def read(self, region: int, offset: int, size: int) -> bytes: ...
    def write(self, region: int, offset: int, data: bytes) -> None: ...


class SoftwareConfig:
    """The user's view of one function's config space. Not locked: the device's config lock is around it.

    ``raw`` is what the device itself says, with the capabilities that are hidden. ``sizes``: bytes of each BAR and of
    the ROM (index 6). ``pin``: whether INTx is shown. ``place``: gives a 64-bit BAR without an address one, as firmware
    does, by its size; a device may have to know it, as one that is given addresses inside its own BARs.
    """

    def __init__(
        self, door: ConfigDoor, size: int, sizes: Sequence[int], *, pin: bool, place: Callable[[int], int]
    ) -> None:
        self._door, self.size = door, min(size, FULL_SIZE)
        self._place_bars(sizes, place)
        image = door.read(RegionIndex.CONFIG, 0, self.size)
        self.raw: Capabilities = decode(ConfigSpace(image, ConfigSource.IMAGE))
        # Per byte: what the user reads from us, which bits those are, and which written bits stay here or go on.
        self._value = bytearray(image)
        self._virtual, self._kept = bytearray(self.size), bytearray(self.size)
        self._passed = bytearray(b"\xff" * self.size)
        self._passed[:0x40] = bytes(0x40)
        self._header(sizes, pin)
        for capability in self.raw:
            self._permit(capability)
        self._relink()

    def _place_bars(self, sizes: Sequence[int], place: Callable[[int], int]) -> None:
        for number in range(6):
            at = 0x10 + 4 * number
            low = int.from_bytes(self._door.read(RegionIndex.CONFIG, at, 4), "little")
            size = sizes[number] if number < len(sizes) else 0
            if not size or low & 7 != 4 or number == 5:
                continue
            if not low >> 4 and not any(self._door.read(RegionIndex.CONFIG, at + 4, 4)):
                address = place(size)
                self._door.write(RegionIndex.CONFIG, at, (address & 0xFFFF_FFFF).to_bytes(4, "little"))
                self._door.write(RegionIndex.CONFIG, at + 4, (address >> 32).to_bytes(4, "little"))

    # --- what is virtual ----------------------------------------------------------------------------------------------

    def _set(self, table: bytearray, offset: int, mask: int, size: int) -> None:
        if offset + size <= self.size:
            table[offset : offset + size] = mask.to_bytes(size, "little")

    def _own(self, offset: int, value: int, size: int, kept: int = 0) -> None:
        """The user reads ``value``, and can change its ``kept`` bits; the device is not asked."""
        self._set(self._value, offset, value, size)
        self._set(self._virtual, offset, (1 << 8 * size) - 1, size)
        self._set(self._kept, offset, kept, size)
        self._set(self._passed, offset, 0, size)

    def _header(self, sizes: Sequence[int], pin: bool) -> None:
        self._set(self._passed, _COMMAND, 0xFFFF & ~Command.INTX_DISABLE, 2)
        self._set(self._virtual, _COMMAND, Command.INTX_DISABLE, 2)
        self._set(self._kept, _COMMAND, Command.INTX_DISABLE, 2)
        for offset in (0x0C, 0x0D, 0x0F):  # cache line size, latency timer, BIST
            self._passed[offset] = 0xFF
        number = 0
        while number < 6:
            low = int.from_bytes(self._value[0x10 + 4 * number : 0x14 + 4 * number], "little")
            wide = low & 7 == 4 and number < 5
            width = 8 if wide else 4
            address = int.from_bytes(self._value[0x10 + 4 * number : 0x10 + 4 * number + width], "little")
            size = sizes[number] if number < len(sizes) else 0
            flags = (low & 0x3 if low & 1 else low & 0xF) if size else 0
            writable = (1 << 8 * width) - size & ~(0x3 if low & 1 else 0xF) if size else 0
            self._own(0x10 + 4 * number, address & writable | flags, width, writable)
            number += width // 4
        rom = sizes[6] if len(sizes) > 6 else 0
        writable = (1 << 32) - rom & 0xFFFF_F800 | 1 if rom else 0
        self._own(0x30, int.from_bytes(self._value[0x30:0x34], "little") & writable, 4, writable)
        self._own(0x3C, self._value[0x3C], 1, 0xFF)
        self._own(0x3D, self._value[0x3D] if pin else 0, 1)

    def _permit(self, capability: Capability) -> None:
        at, size = capability.offset, capability.size
        shown = capability.id in (_SHOWN_EXTENDED if capability.extended else _SHOWN)
        if not shown:
            return  # unassigned bytes: read and written as they are
        if capability.id not in (_RAW_EXTENDED if capability.extended else _RAW):
            self._passed[at : at + size] = bytes(size)
        if capability.extended:
            if capability.id == 0x01:  # AER: status, mask and severity
                for register in (0x04, 0x08, 0x0C, 0x10, 0x14):
                    self._set(self._passed, at + register, 0xFFFF_FFFF, 4)
            return
        match capability.id:
            case 0x01:  # power management: control, the state bits included (the kernel changes the state itself)
                self._set(self._passed, at + 4, 0xFFFF_FFFF, 4)
            case 0x03:  # VPD: through to the device
                self._set(self._passed, at + 2, 0xFFFF, 2)
                self._set(self._passed, at + 4, 0xFFFF_FFFF, 4)
            case 0x05 if size >= 10:  # MSI: address and data are the user's scratch, the kernel's own are in the device
                control = int.from_bytes(capability.data[2:4], "little")
                self._own(at + 2, control & 0xFF8E, 2, 0x0070)
                length = size - 4
                self._own(at + 4, 0, length, (1 << 8 * length) - 1)
            case 0x10:  # PCIe: device control without phantom functions; the reset bit is looked at by the device
                self._set(self._passed, at + 0x08, 0xFFFF & ~(1 << 9 | 1 << 15), 2)
                if size >= 0x2A:
                    self._set(self._passed, at + 0x28, 0xFFFF & ~(1 << 5), 2)
            case 0x13:  # AF: only its reset bit, which the device looks at
                pass

    def _relink(self) -> None:
        pointer = 0x34
        for capability in self.raw.standard:
            if capability.id in _SHOWN:
                self._own(pointer, capability.offset, 1)
                pointer = capability.offset + 1
        self._own(pointer, 0, 1)
        if pointer == 0x34:
            self._set(self._virtual, 0x06, 0x10, 2)
            self._set(self._value, 0x06, 0, 2)
        previous: Capability | None = None
        for capability in self.raw.extended:
            shown = capability.id in _SHOWN_EXTENDED
            if capability.offset != EXTENDED_START and not shown:
                continue
            if previous is not None:
                self._chain(previous, capability.offset)
            previous = capability
        if previous is not None:
            self._chain(previous, 0)

    def _chain(self, capability: Capability, after: int) -> None:
        # A hidden capability at 0x100 still has to start the list: it loses its id and version.
        head = int.from_bytes(capability.data[:4], "little") & 0xFFFFF
        if capability.id not in _SHOWN_EXTENDED:
            head = 0
        self._own(capability.offset, head | after << 20, 4)

    # --- access -------------------------------------------------------------------------------------------------------

    @property
    def pasid_bits(self) -> int:
        """How wide the PASIDs are that the function itself can send; 0: it has no such capability (VFIO hides it)."""
        found = self.raw.by_id(_PASID, extended=True)
        return (self.raw.config.read(found[0].offset + 4, 2) >> 8 & 0x1F) if found else 0

    @property
    def intx_disable(self) -> bool:
        return bool(self._value[_COMMAND + 1] & Command.INTX_DISABLE >> 8)

    def show(self, offset: int, value: int, mask: int, size: int) -> None:
        """From now on the user reads ``value`` in these bits: what the kernel controls, as MSI-X enable."""
        self._set(self._virtual, offset, int.from_bytes(self._virtual[offset : offset + size], "little") | mask, size)
        kept = int.from_bytes(self._value[offset : offset + size], "little") & ~mask
        self._set(self._value, offset, kept | value & mask, size)

    def read(self, offset: int, size: int) -> bytes:
        """An aligned access of 1, 2 or 4 bytes, or any range at once."""
        virtual = int.from_bytes(self._virtual[offset : offset + size], "little")
        own = int.from_bytes(self._value[offset : offset + size], "little")
        if virtual == (1 << 8 * size) - 1:
            return own.to_bytes(size, "little")
        there = int.from_bytes(self._door.read(RegionIndex.CONFIG, offset, size), "little")
        return (there & ~virtual | own & virtual).to_bytes(size, "little")

    def write(self, offset: int, data: bytes) -> None:
        """An aligned access of 1, 2 or 4 bytes. Bits that the user may not write keep what the device has."""
        size = len(data)
        new = int.from_bytes(data, "little")
        kept = int.from_bytes(self._kept[offset : offset + size], "little")
        if kept:
            old = int.from_bytes(self._value[offset : offset + size], "little")
            self._value[offset : offset + size] = (old & ~kept | new & kept).to_bytes(size, "little")
        passed = int.from_bytes(self._passed[offset : offset + size], "little")
        if not passed:
            return
        if passed != (1 << 8 * size) - 1:
            there = int.from_bytes(self._door.read(RegionIndex.CONFIG, offset, size), "little")
            new = there & ~passed | new & passed
        self._door.write(RegionIndex.CONFIG, offset, new.to_bytes(size, "little"))

    @property
    def power_control(self) -> int | None:
        """Where the PM control register is; None without the capability."""
        return None if self.raw.pm is None else self.raw.pm.offset + 4

    def power_state(self) -> PowerState:
        """The device's own power state; D0 where it has no other."""
        at = self.power_control
        return PowerState.D0 if at is None else PowerState(self._door.read(RegionIndex.CONFIG, at, 2)[0] & 3)

    def wake(self) -> None:
        """Put the device into D0."""
        at = self.power_control
        if at is not None:
            control = int.from_bytes(self._door.read(RegionIndex.CONFIG, at, 2), "little")
            # The PME status is cleared by writing 1: it is left as it is.
            self._door.write(RegionIndex.CONFIG, at, (control & 0x7FFC).to_bytes(2, "little"))

    def command(self) -> Command:
        """The device's own command register."""
        return Command(int.from_bytes(self._door.read(RegionIndex.CONFIG, _COMMAND, 2), "little"))

    def set_command(self, command: int) -> None:
        """Write the device's own command register."""
        self._door.write(RegionIndex.CONFIG, _COMMAND, int(command & 0xFFFF).to_bytes(2, "little"))
