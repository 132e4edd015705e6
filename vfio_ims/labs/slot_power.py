# SPDX-License-Identifier: Apache-2.0
"""Power of a function's slot through sysfs: the hotplug slot's, or the function taken from the bus and found again.

Facts: the kernel's Documentation/ABI/testing/sysfs-bus-pci (slots/.../power, devices/.../remove, rescan).
"""

from __future__ import annotations

import time
from pathlib import Path

from vfio_ims.errors import DeviceTimeout, SetupError
from vfio_ims.native.failure import failed
from vfio_ims.pci import PciAddress

__all__ = ["SlotPower"]

_FOUND = 10.0
_PAUSE = 0.1


class SlotPower:
    """Of the function at ``address``. Removing and rescanning leaves the card powered: its state survives."""

    def __init__(self, address: str, *, sys: Path = Path("/sys")) -> None:
        self.address, self._bus = PciAddress.parse(address), sys / "bus/pci"

    @property
    def slot(self) -> Path | None:
        """The hotplug slot whose power can be switched; None where there is none."""
        wanted = str(self.address).rpartition(".")[0]
        for slot in sorted((self._bus / "slots").glob("*")):
            place, power = slot / "address", slot / "power"
            if power.exists() and place.read_text().strip() == wanted:
                return slot
        return None

    def get(self) -> bool:
        """Whether the function is there."""
        return (self._bus / "devices" / str(self.address)).exists()

    def off(self) -> None:
        """Take the function away; nothing where it is gone. Raises AccessDenied, SetupError."""
        slot = self.slot
        if slot is not None:
            self._write(slot / "power", "0")
        elif self.get():
            self._write(self._bus / "devices" / str(self.address) / "remove", "1")

    def on(self) -> None:
        """Power the slot or rescan the bus, and wait for the function: DeviceTimeout after 10 s."""
        slot = self.slot
        self._write(self._bus / "rescan" if slot is None else slot / "power", "1")
        deadline = time.monotonic() + _FOUND
        while not self.get():
            if time.monotonic() > deadline:
                why = f"it did not appear within {_FOUND:g} s"
                raise DeviceTimeout("power on", device=str(self.address), why=why)
            time.sleep(_PAUSE)

    def cycle(self) -> None:
        """Off and on."""
        self.off()
        self.on()

    def _write(self, place: Path, text: str) -> None:
        try:
            place.write_text(text)
        except PermissionError as error:
            raise failed(error.errno or 0, f"write {place}", str(self.address)) from error
        except OSError as error:
            raise SetupError(f"write {place}", device=str(self.address), errno=error.errno) from error
