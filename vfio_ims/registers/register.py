# SPDX-License-Identifier: Apache-2.0
"""The declaration of one register."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args, overload

from vfio_ims.errors import UsageError
from vfio_ims.registers.bound import BoundRegister
from vfio_ims.registers.fields import Access, Bits
from vfio_ims.registers.value import RegisterValue

if TYPE_CHECKING:
    from vfio_ims.registers.block import Block

__all__ = ["Register"]

_WIDTHS = (8, 16, 32, 64, 128, 256)


class Register:
    """A register at ``offset`` bytes from its block's start, ``width`` bits wide, with named fields.

    Widths over 64 are read and written as 64-bit pieces, ascending: they are not single accesses. Checked when
    declared: alignment, that fields fit and do not overlap. On a block's class this is the declaration, on a bound
    block it is the register of a device.
    """

    name = "register"

    def __init__(
        self, offset: int, width: int = 32, access: Access = "rw", reset: int = 0, doc: str = "", **fields: Bits
    ) -> None:
        if width not in _WIDTHS:
            raise UsageError("declare a register", why=f"width must be one of {_WIDTHS}, not {width!r}")
        if offset < 0 or offset % min(width // 8, 8):
            raise UsageError("declare a register", why=f"offset must be aligned to {width} bits, not {offset:#x}")
        if access not in get_args(Access):
            raise UsageError("declare a register", why=f"access must be one of {get_args(Access)}, not {access!r}")
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
        self.__doc__ = doc or None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.width // 8

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
        return RegisterValue.of(self, number).replace(**fields)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, block: None, owner: type) -> Register: ...
    @overload
    def __get__(self, block: Block, owner: type) -> BoundRegister: ...
    def __get__(self, block: Block | None, owner: type) -> Register | BoundRegister:
        if block is None:
            return self
        bound = BoundRegister(block.window, self, block.base + self.offset, block.label)
        block.__dict__[self.name] = bound  # found before this descriptor from now on: bound once
        return bound

    def __repr__(self) -> str:
        return f"<Register {self.name} at {self.offset:#x}, {self.width} bits, {self.access}>"
