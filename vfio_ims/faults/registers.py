# SPDX-License-Identifier: Apache-2.0
"""Registers by name: where a fault's register is, and what the register of an access is called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError
from vfio_ims.ports.values import RegionIndex

if TYPE_CHECKING:
    from vfio_ims.registers import Block, Register

__all__ = ["Bits", "Registers"]

_PLACE = re.compile(r"(bar[0-5]|config)\+(0x[0-9a-fA-F]+|\d+)")


@dataclass(frozen=True)
class Bits:
    """Some bits of a register: where it is, how many bytes it has, and which bits."""

    region: int
    offset: int
    size: int
    mask: int
    shift: int = 0

    def meets(self, region: int, offset: int, width: int) -> bool:
        """Whether an access touches the register."""
        return region == self.region and offset < self.offset + self.size and self.offset < offset + width

    def within(self, offset: int, width: int, bits: int) -> int:
        """``bits`` of the register, as they lie in an access of ``width`` bytes at ``offset``."""
        moved = bits << 8 * (self.offset - offset) if self.offset >= offset else bits >> 8 * (offset - self.offset)
        return moved & (1 << 8 * width) - 1


class Registers:
    """The registers that a family declares, by BAR. Others have names such as ``bar0+0x10`` and ``config+0x4``."""

    def __init__(self, blocks: Mapping[int, type[Block]]) -> None:
        self._blocks = blocks
        self._names: dict[tuple[int, int], str] | None = None

    def name(self, region: int, offset: int) -> str:
        """What the register that begins at ``offset`` is called; the place where none does."""
        if self._names is None:
            self._names = {(number, at): name for name, number, at, _ in self._declared()}
        place = "config" if region == RegionIndex.CONFIG else f"bar{region}"
        return self._names.get((region, offset)) or f"{place}+{offset:#x}"

    def named(self, text: str) -> str:
        """What accesses to ``REGISTER`` or a place have as their name. UsageError as of ``find``."""
        bits = self.find(text)
        return self.name(bits.region, bits.offset)

    def find(self, text: str) -> Bits:
        """The bits that ``REGISTER``, ``REGISTER.FIELD`` or a place stand for. UsageError with what there is."""
        place = _PLACE.fullmatch(text)
        if place is not None:
            region = RegionIndex.CONFIG if place[1] == "config" else int(place[1][3:])
            return Bits(int(region), int(place[2], 0), 4, 0xFFFF_FFFF)
        names = []
        for name, region, at, register in self._declared():
            if name == text:
                return Bits(region, at, register.size, (1 << register.width) - 1)
            head, dot, last = text.rpartition(".")
            if dot and head == name and last in register.fields:
                field = register.fields[last]
                return Bits(region, at, register.size, field.mask, field.low)
            names.append(name)
        near = get_close_matches(text, names, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        why = f"{text!r} is no declared register, and no place such as bar0+0x10{meant}"
        raise UsageError("find a register", why=why, hint="vfio-ims read DEVICE lists those that its driver declares")

    def _declared(self) -> Iterator[tuple[str, int, int, Register]]:
        for region, block in self._blocks.items():
            for name, register in block.registers.items():
                yield name, region, register.offset, register
            for name, repeat in block.repeats.items():
                for inner, register in repeat.block.registers.items():
                    for row in range(repeat.count):
                        yield (
                            f"{name}[{row}].{inner}",
                            region,
                            repeat.offset + row * repeat.stride + register.offset,
                            register,
                        )
