# SPDX-License-Identifier: Apache-2.0
"""A register of a device: explicit reads and writes, each one access of the declared width."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError, DeviceTimeout, UsageError
from vfio_ims.registers.value import RegisterValue

if TYPE_CHECKING:
    from vfio_ims.backends.ports import Window
    from vfio_ims.registers.register import Register

__all__ = ["BoundRegister"]


class BoundRegister:
    """``read`` gives a snapshot, ``write`` stores a whole value, ``update`` reads, changes fields and writes."""

    __slots__ = ("_label", "_load", "_store", "_window", "offset", "register")

    def __init__(self, window: Window, register: Register, offset: int, label: str = "") -> None:
        self._window, self.register, self.offset, self._label = window, register, offset, label
        self._load: Callable[[int], int] = getattr(window, f"read{register.width}", self._load_wide)
        self._store: Callable[[int, int], None] = getattr(window, f"write{register.width}", self._store_wide)

    def _load_wide(self, offset: int) -> int:
        return int.from_bytes(self._window.read_block(offset, self.register.size // 8, 8), "little")

    def _store_wide(self, offset: int, value: int) -> None:
        self._window.write_block(offset, value.to_bytes(self.register.size, "little"), 8)

    def read(self) -> RegisterValue:
        """One read."""
        return RegisterValue.of(self.register, self._load(self.offset))

    def write(self, value: int = 0, **fields: int) -> None:
        """One write of ``value`` with ``fields`` set in it; all other bits as in ``value``, nothing is read."""
        try:
            self._store(self.offset, self.register.value(value, **fields) if fields else value)
        except (AttributeError, TypeError) as error:
            wrong = {"value": value} | fields
            for name, number in wrong.items():
                if not isinstance(number, int):
                    why = f"{name} must be a number, not {number!r}"
                    raise UsageError(f"write {self.register.name}", device=self._label or None, why=why) from error
            raise

    def update(self, **fields: int) -> RegisterValue:
        """Read, change ``fields``, write; returns what was written. Write-1-to-clear bits are written as 0."""
        keep = ~self.register.mask("rw1c")
        value = RegisterValue.of(self.register, self._load(self.offset) & keep).replace(**fields)
        self._store(self.offset, value)
        return value

    def poll(self, timeout: float, **fields: int) -> RegisterValue:
        """Read, in one compiled loop, until ``fields`` have these numbers; DeviceTimeout after ``timeout`` seconds."""
        mask = expected = 0
        for name, number in fields.items():
            field = self.register.fields[name]
            mask, expected = mask | field.mask, field.put(expected, number)
        value = RegisterValue.of(
            self.register, self._window.poll(self.offset, self.register.size, mask, expected, timeout)
        )
        if value & mask != expected:
            wanted = ", ".join(f"{name}={number}" for name, number in fields.items())
            raise DeviceTimeout(
                f"wait for {self.register.name} to have {wanted}",
                device=self._label or None,
                why=f"it still was {value!r} after {timeout:g} s",
            )
        return value

    def expect(self, value: int) -> RegisterValue:
        """Read once; DeviceError unless the register holds ``value``. All ones reads as a device that is gone."""
        found = self.read()
        if found != value:
            gone = found == (1 << self.register.width) - 1
            raise DeviceError(
                f"read {self.register.name}",
                device=self._label or None,
                why=f"it must be {value:#x}, not {int(found):#x}" + (" (all ones: no device answers)" if gone else ""),
            )
        return found

    def __repr__(self) -> str:
        return f"<{self._label} {self.register.name} at {self.offset:#x}>"
