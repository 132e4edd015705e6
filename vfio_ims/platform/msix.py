# SPDX-License-Identifier: Apache-2.0
"""The MSI-X table and pending bits as vfio-pci and the kernel keep them: zero and masked while detached.

Layout: PCIe base spec 6.0, section 7.7.2. A detached entry is zero and masked (Linux msi_domain_deactivate).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vfio_ims.messages import Message

__all__ = ["ENTRY_SIZE", "MsixPlace", "MsixTable"]

ENTRY_SIZE = 16
_ENTRY = struct.Struct("<QII")
_EMPTY = _ENTRY.pack(0, 0, 1)


@dataclass(frozen=True, slots=True)
class MsixPlace:
    """Where a function's MSI-X structures are: BAR and offset of the table and of the pending bits."""

    count: int
    table_bar: int
    table: int
    pba_bar: int
    pba: int

    @property
    def table_size(self) -> int:
        """Bytes: 16 for each vector (PCIe base spec, "MSI-X Table Structure")."""
        return self.count * ENTRY_SIZE

    @property
    def pba_size(self) -> int:
        """Bytes: 64-bit words of one bit a vector."""
        return -(-self.count // 64) * 8


class MsixTable:
    """``count`` entries of 16 bytes and a pending bit each. The platform's lock serialises writers."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.data = bytearray(_EMPTY * count)
        self._pending: set[int] = set()

    def attach(self, index: int, message: Message) -> bool:
        """Write the message and unmask; whether an interrupt was waiting for that."""
        _ENTRY.pack_into(self.data, index * ENTRY_SIZE, message.address, message.data, 0)
        waiting = index in self._pending
        self._pending.discard(index)
        return waiting

    def detach(self, index: int) -> None:
        """Zero the message and mask."""
        self.data[index * ENTRY_SIZE : (index + 1) * ENTRY_SIZE] = _EMPTY

    def raised(self, index: int) -> tuple[int, int] | None:
        """The device raises this vector: the address and data to send, or None: masked, and now pending."""
        address, data, control = _ENTRY.unpack_from(self.data, index * ENTRY_SIZE)
        if control & 1:
            self._pending.add(index)
            return None
        return address, data

    def forget(self) -> None:
        """A reset of the function: nothing pends."""
        self._pending.clear()

    @property
    def pending(self) -> frozenset[int]:
        return frozenset(self._pending)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def write(self, offset: int, data: bytes) -> list[int]:
        """What a store through a mapping does; returns the entries that it unmasked while an interrupt was waiting."""
        self.data[offset : offset + len(data)] = data
        touched = range(offset // ENTRY_SIZE, (offset + len(data) - 1) // ENTRY_SIZE + 1)
        free = [index for index in touched if index in self._pending and not self.data[index * ENTRY_SIZE + 12] & 1]
        self._pending.difference_update(free)
        return free

    def read_pending(self, offset: int, size: int) -> bytes:
        """Bytes of the pending bit array, which is read-only."""
        bits = sum(1 << index for index in self._pending)
        return (bits >> 8 * offset & (1 << 8 * size) - 1).to_bytes(size, "little")
