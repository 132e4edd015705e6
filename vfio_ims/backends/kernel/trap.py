# SPDX-License-Identifier: Apache-2.0
"""Registers that may not be mapped: each access is one pread or pwrite on the device's descriptor."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from vfio_ims.backends.kernel.access import access_refused, translate_errno
from vfio_ims.counted import counted
from vfio_ims.errors import DeviceError, UnsupportedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

    from vfio_ims.native.descriptor import Descriptor
    from vfio_ims.ports.values import RegionInfo

__all__ = ["PreadTrap"]


class PreadTrap:
    """What a window asks where no mapping allows an access; bounds and alignment are checked by then.

    1, 2 and 4 bytes are one access on the device, 8 where the kernel has 64-bit accesses (Linux 6.10; before that, two
    of 4 bytes: drivers/vfio/pci/vfio_pci_rdwr.c).
    """

    def __init__(self, device: Descriptor, region: RegionInfo, name: str) -> None:
        self._device, self._region, self._name = device, region, name

    def mapped(self, offset: int, size: int) -> bool:
        """Never: what could be mapped is."""
        return False

    def load(self, offset: int, width: int) -> int:
        """One register."""
        operation = f"read {counted(width, 'byte')} at {offset:#x} of region {self._region.index}"
        with translate_errno(lambda code: access_refused(code, operation, self._name)):
            data = os.pread(self._device.fileno(), width, self._region.offset + offset)
        if len(data) != width:
            raise DeviceError(
                operation, device=self._name, why=f"the kernel gave {len(data)} of {counted(width, 'byte')}"
            )
        return int.from_bytes(data, "little")

    def store(self, offset: int, width: int, value: int) -> None:
        """One register."""
        operation = f"write {counted(width, 'byte')} at {offset:#x} of region {self._region.index}"
        with translate_errno(lambda code: access_refused(code, operation, self._name)):
            done = os.pwrite(self._device.fileno(), value.to_bytes(width, "little"), self._region.offset + offset)
        if done != width:
            raise DeviceError(operation, device=self._name, why=f"the kernel took {done} of {counted(width, 'byte')}")

    def read8(self, offset: int) -> int:
        return self.load(offset, 1)

    def read16(self, offset: int) -> int:
        return self.load(offset, 2)

    def read32(self, offset: int) -> int:
        return self.load(offset, 4)

    def read64(self, offset: int) -> int:
        return self.load(offset, 8)

    def write8(self, offset: int, value: int) -> None:
        self.store(offset, 1, value)

    def write16(self, offset: int, value: int) -> None:
        self.store(offset, 2, value)

    def write32(self, offset: int, value: int) -> None:
        self.store(offset, 4, value)

    def write64(self, offset: int, value: int) -> None:
        self.store(offset, 8, value)

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        """Read until ``value & mask == expected`` or ``timeout`` seconds have passed; the last value."""
        deadline = time.monotonic() + timeout
        while True:
            value = self.load(offset, width)
            if value & mask == expected or time.monotonic() >= deadline:
                return value

    def store64(self, offset: int, data: Buffer, *, pieces: bool = False) -> None:
        """A portal that is not mapped takes 64 bytes in pieces only."""
        if not pieces:
            why = "the portal cannot be mapped, and the kernel writes at most 8 bytes at once"
            raise UnsupportedError(f"store 64 bytes at {offset:#x}", device=self._name, why=why)
        words = memoryview(data).cast("B")
        for at in range(0, 64, 8):
            self.store(offset + at, 8, int.from_bytes(words[at : at + 8], "little"))
