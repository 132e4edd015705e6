# SPDX-License-Identifier: Apache-2.0
"""Fields of a register: a run of bits with a name, an access and, where it has one, a meaning for each value."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, get_args

from vfio_ims.errors import UsageError

__all__ = ["Access", "Bits", "OnRead", "bit", "bits"]

Access = Literal["ro", "rw", "wo", "rw1c"]
"""Read-only, read-write, write-only (reads as zero), read and write-1-to-clear."""

OnRead = Literal["nothing", "clears", "pops"]
"""What a read of a register does to it."""


@dataclass(frozen=True, slots=True)
class Bits:
    """Bits ``high`` to ``low``, both included. ``access`` None: the register's."""

    high: int
    low: int
    access: Access | None = None
    enum: type[IntEnum] | None = None
    width: int = field(init=False, repr=False, compare=False)
    mask: int = field(init=False, repr=False, compare=False)
    """The field's bits in place."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise UsageError("declare a field", why=f"bits must be high:low, not {self.high}:{self.low}")
        if self.access is not None and self.access not in get_args(Access):
            raise UsageError("declare a field", why=f"access must be one of {get_args(Access)}, not {self.access!r}")
        object.__setattr__(self, "width", self.high - self.low + 1)
        object.__setattr__(self, "mask", (1 << self.width) - 1 << self.low)

    def get(self, value: int) -> int:
        """The field's number in the register's ``value``."""
        return (value & self.mask) >> self.low

    def put(self, value: int, number: int) -> int:
        """``value`` with this field set to ``number``; UsageError if it does not fit."""
        if not 0 <= number < 1 << self.width:
            raise UsageError("set a field", why=f"value must fit {self.width} bits, not {number:#x}")
        return value & ~self.mask | int(number) << self.low

    def word(self, value: int) -> str:
        """The field's value as text: its enum's name where it has one."""
        number = self.get(value)
        if self.enum is not None:
            try:
                return self.enum(number).name.lower().replace("_", " ")
            except ValueError:
                return f"{number:#x} (unknown)"
        return str(number) if self.width == 1 else f"{number:#x}"


def bit(position: int, access: Access | None = None) -> Bits:
    """One bit."""
    return Bits(position, position, access)


def bits(high: int, low: int, access: Access | None = None, enum: type[IntEnum] | None = None) -> Bits:
    """Bits ``high:low`` as the data sheets write them. ``enum``: names for the field's numbers.

    ``access``: where it is not the register's own, as one ``rw1c`` field among others that are read-only.
    """
    return Bits(high, low, access, enum)
