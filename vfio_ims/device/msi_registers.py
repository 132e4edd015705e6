# SPDX-License-Identifier: Apache-2.0
"""A function's MSI registers as the kernel wrote them: through a descriptor that a privileged program opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from vfio_ims.errors import DeviceError, UsageError
from vfio_ims.messages import Message
from vfio_ims.pci.capabilities import Msi

__all__ = ["HostMsiRegisters", "sysfs_config"]

_PRIVILEGED = 64  # what an unprivileged reader of config space sees


class HostMsiRegisters:
    """``read(offset, size)`` is the host's own view of config space; None: it is not at hand."""

    def __init__(self, name: str, msi: Msi, read: Callable[[int, int], bytes] | None) -> None:
        self._msi, self._read, self._name = msi, read, name
        self.missing = self.hint = ""
        if read is None:
            self.missing = "VFIO shows a user's copy of the MSI registers, not the message that the kernel wrote"
            path = f"/sys/bus/pci/devices/{name.partition(',')[0]}/config"
            self.hint = f"let root open {path}, and pass that descriptor: {name},config=FD"
            if name.startswith(("mock:", "vfio-user:")):
                self.hint = "leave config=no out of its name"

    def read(self) -> Message | None:
        """The message of vector 0; None while MSI is off. DeviceError where the descriptor shows too little."""
        assert self._read is not None
        at, wide = self._msi.offset, self._msi.wide
        data = self._read(at, 14 if wide else 10)
        if len(data) < (14 if wide else 10):
            why = f"config space ends at {_PRIVILEGED} bytes there: the descriptor was not opened by root"
            raise DeviceError("read the MSI registers", device=self._name, why=why)
        if not data[2] & 1:
            return None
        size = 8 if wide else 4
        address = int.from_bytes(data[4 : 4 + size], "little") & ~3
        return Message(address, int.from_bytes(data[4 + size : 6 + size], "little")) if address else None


def sysfs_config(descriptor: int, bdf: str) -> Callable[[int, int], bytes]:
    """A reader of sysfs' ``config`` of function ``bdf`` through ``descriptor``. UsageError where it is another file."""
    try:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    except OSError as error:
        why = f"descriptor {descriptor} is not open"
        raise UsageError("use a descriptor of config space", device=bdf, why=why) from error
    if path.name != "config" or path.parent.name != bdf:
        why = f"descriptor {descriptor} is {path}, not config space of {bdf}: another's messages must not be used"
        hint = f"open /sys/bus/pci/devices/{bdf}/config"
        raise UsageError("use a descriptor of config space", device=bdf, why=why, hint=hint)
    return lambda offset, size: os.pread(descriptor, size, offset)
