# SPDX-License-Identifier: Apache-2.0
"""One register: its declaration, the register of a device that a bound block has, and a value read from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, get_args, overload

from vfio_ims.errors import DeviceError, DeviceTimeout, UsageError, explain_unknown
from vfio_ims.registers.fields import Access, Bits, OnRead

if TYPE_CHECKING:
    from vfio_ims.ports.window import Window

__all__ = ["BoundRegister", "Register", "RegisterValue"]

_WIDTHS = (8, 16, 32, 64, 128, 256)


class _Block(Protocol):
    """What a block on a device has: ``Block`` in ``block.py``."""

    window: Window
    base: int
    label: str


class Register:
    """A register at ``offset`` bytes from its block's start, ``width`` bits wide, with named fields.

    Widths over 64 are read and written as 64-bit pieces, ascending: they are not single accesses. Checked when
    declared: alignment, that fields fit and do not overlap. On a block's class this is the declaration, on a bound
    block it is the register of a device.

    ``on_read``: what a read does beside reading, which recordings mark: it "clears" the register, or "pops" an entry of
    a FIFO. Models do that by a hook of their own.
    """

    name = "register"

    def __init__(
        self,
        offset: int,
        width: int = 32,
        access: Access = "rw",
        reset: int = 0,
        doc: str = "",
        *,
        on_read: OnRead = "nothing",
        **fields: Bits,
    ) -> None:
        if width not in _WIDTHS:
            raise UsageError("declare a register", why=f"width must be one of {_WIDTHS}, not {width!r}")
        if offset < 0 or offset % min(width // 8, 8):
            raise UsageError("declare a register", why=f"offset must be aligned to {width} bits, not {offset:#x}")
        if access not in get_args(Access):
            raise UsageError("declare a register", why=f"access must be one of {get_args(Access)}, not {access!r}")
        if on_read not in get_args(OnRead):
            raise UsageError("declare a register", why=f"on_read must be one of {get_args(OnRead)}, not {on_read!r}")
        taken = 0
        for name, field in fields.items():
            if field.high >= width:
                raise UsageError(
                    "declare a register", why=f"field {name} must fit {width} bits, not reach bit {field.high}"
                )
            if taken & field.mask:
                raise UsageError("declare a register", why=f"field {name} overlaps another one")
            taken |= field.mask
        self.offset, self.width, self.access, self.reset, self.fields = offset, width, access, reset, fields
        self.on_read = on_read
        self.size = width // 8
        """Bytes."""
        self.__doc__ = doc or None

    def mask(self, *kinds: Access) -> int:
        """The bits whose access is one of ``kinds``; bits that no field declares have the register's access."""
        everything = (1 << self.width) - 1
        chosen, own = 0, everything
        for field in self.fields.values():
            if field.access is not None:
                own &= ~field.mask
                chosen |= field.mask if field.access in kinds else 0
        return chosen | (own if self.access in kinds else 0)

    def value(self, number: int = 0, /, **fields: int) -> RegisterValue:
        """A value of this register; starts from ``number``."""
        return RegisterValue.of(self, self.put(number, fields) if fields else number)

    def put(self, number: int, fields: Mapping[str, int]) -> int:
        """``number`` with ``fields`` set in it. UsageError for a field that the register does not have."""
        known = self.fields
        for name, given in fields.items():
            field = known.get(name)
            if field is None:
                why = explain_unknown(f"field of {self.name}", name, known)
                raise UsageError("change a register value", why=why)
            number = field.put(number, given)
        return number

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, block: None, owner: type) -> Register: ...
    @overload
    def __get__(self, block: _Block, owner: type) -> BoundRegister: ...
    def __get__(self, block: _Block | None, owner: type) -> Register | BoundRegister:
        if block is None:
            return self
        bound = BoundRegister(block.window, self, block.base + self.offset, block.label)
        block.__dict__[self.name] = bound  # found before this descriptor from now on: bound once
        return bound

    def __repr__(self) -> str:
        return f"<Register {self.name} at {self.offset:#x}, {self.width} bits, {self.access}>"


class RegisterValue(int):
    """An int with the fields of its register as attributes: ``value.state``; unknown bits are kept and shown."""

    @classmethod
    def of(cls, register: Register, value: int) -> RegisterValue:
        """``value`` as one of ``register``'s, with its fields as attributes."""
        self = cls(value)
        self.__dict__["_register"] = register
        return self

    def declaration(self) -> Register:
        """The register that this is a value of."""
        register: Register = self.__dict__["_register"]
        return register

    def __getattr__(self, name: str) -> int:
        field = None if name.startswith("__") else self.declaration().fields.get(name)
        if field is None:
            raise AttributeError(
                explain_unknown(f"field of {self.declaration().name}", name, self.declaration().fields)
            )
        return field.get(self)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.declaration().fields]

    def replace(self, **fields: int) -> RegisterValue:
        """A new value with these fields changed."""
        register = self.declaration()
        return RegisterValue.of(register, register.put(int(self), fields))

    def fields(self) -> dict[str, int]:
        """Every field with its number."""
        return {name: field.get(self) for name, field in self.declaration().fields.items()}

    @property
    def unknown(self) -> int:
        """The set bits that no field declares; 0 for a register without fields."""
        declared = 0
        for field in self.declaration().fields.values():
            declared |= field.mask
        return self & ~declared if declared else 0

    def __repr__(self) -> str:
        digits = self.declaration().width // 4
        parts = [f"{name}={field.word(self)}" for name, field in self.declaration().fields.items() if field.get(self)]
        if self.unknown:
            parts.append(f"unknown={self.unknown:#x}")
        return f"{self.declaration().name}={int(self):#0{digits + 2}x}" + (f" ({', '.join(parts)})" if parts else "")

    __str__ = __repr__


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
