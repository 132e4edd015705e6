# SPDX-License-Identifier: Apache-2.0
"""The registers of a BAR that is far larger than what is in it: a value is kept for each register that was written."""

from __future__ import annotations

from collections.abc import Collection

from vfio_ims.models.register_file import Place, RegisterFile, View
from vfio_ims.registers import Block, Register, RegisterValue, Repeat

__all__ = ["DENSE", "SparseRegisterFile", "register_file"]

DENSE = 1 << 20
"""Bytes of the largest BAR whose bytes are kept one by one."""

_WIDEST = 32  # bytes of a register


_PLACES: dict[type[Block], dict[int, Place]] = {}


def _places(block: type[Block]) -> dict[int, Place]:
    """Every register that ``block`` declares, by its offset: worked out once for all models that have it."""
    if block not in _PLACES:
        found: dict[int, Place] = {}
        _declare(found, block, 0, None)
        _PLACES[block] = found
    return _PLACES[block]


def _declare(found: dict[int, Place], block: type[Block], base: int, row: int | None) -> None:
    for register in block.registers.values():
        found[base + register.offset] = Place(register, base + register.offset, row)
    for repeat in block.repeats.values():
        for index in range(repeat.count):
            _declare(found, repeat.block, base + repeat.offset + index * repeat.stride, index)


class _Row(View):
    """The registers of one row."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[int, int], base: int) -> None:
        super().__init__(bytearray(), base)
        self._values = values

    def get(self, register: Register) -> RegisterValue:
        return RegisterValue.of(register, self._values.get(self._base + register.offset, register.reset))

    def set(self, register: Register, value: int = 0, **fields: int) -> None:
        self._values[self._base + register.offset] = register.value(value, **fields) if fields else value


class SparseRegisterFile(RegisterFile):
    """As ``RegisterFile``: bytes that no register declares read zero and keep nothing.

    Rows of different repeats may lie in between one another, and a row's registers further apart than its stride.
    """

    __slots__ = ("_at", "_values")

    def __init__(self, block: type[Block], size: int) -> None:
        View.__init__(self, bytearray(), 0)
        self.size = size
        self._at = _places(block)
        self._values: dict[int, int] = {}

    def row(self, repeat: Repeat[Block], index: int) -> View:
        return _Row(self._values, repeat.offset + index * repeat.stride)

    def get(self, register: Register) -> RegisterValue:
        return RegisterValue.of(register, self._values.get(register.offset, register.reset))

    def set(self, register: Register, value: int = 0, **fields: int) -> None:
        self._values[register.offset] = register.value(value, **fields) if fields else value

    def reset(self) -> None:
        self._values.clear()

    def plain_places(self, width: int, hooked: Collection[Register]) -> list[int]:
        return []  # their values are not kept as bytes

    def plain_put(self, at: int, width: int, hooked: Collection[Register]) -> tuple[int, int] | None:
        return None

    def store_whole(self, offset: int, data: bytes) -> tuple[Place, int] | None:
        place = self._at.get(offset)
        if place is None or place.register.size != len(data):
            return None
        register, number = place.register, int.from_bytes(data, "little")
        if register.access == "rw" and not register.fields:
            self._values[offset] = number
        else:
            self._put(place, number, -1)
        return place, number

    def place(self, offset: int) -> Place | None:
        found = self._at.get(offset)
        if found is not None:
            return found
        for start in range(offset - 1, offset - _WIDEST, -1):
            found = self._at.get(start)
            if found is not None:
                return found if offset < start + found.register.size else None
        return None

    def load(self, offset: int, size: int) -> bytes:
        place = self._at.get(offset)
        if place is not None and place.register.size == size:
            return self._seen(place).to_bytes(size, "little")
        data = bytearray(size)
        for at in range(offset, offset + size):
            place = self.place(at)
            if place is not None:
                data[at - offset] = self._seen(place) >> 8 * (at - place.offset) & 0xFF
        return bytes(data)

    def _seen(self, place: Place) -> int:
        register = place.register
        return self._values.get(place.offset, register.reset) & ~register.mask("wo")

    def store(self, offset: int, data: bytes) -> list[tuple[Place, RegisterValue]]:
        whole = self.store_whole(offset, data)
        if whole is not None:
            return [(whole[0], RegisterValue.of(whole[0].register, whole[1]))]
        touched: list[tuple[Place, RegisterValue]] = []
        end, at = offset + len(data), offset
        while at < end:
            place = self.place(at)
            if place is None:
                at += 1
                continue
            register = place.register
            stop = min(end, place.offset + register.size)
            written = bytearray(self._values.get(place.offset, register.reset).to_bytes(register.size, "little"))
            written[at - place.offset : stop - place.offset] = data[at - offset : stop - offset]
            number = int.from_bytes(written, "little")
            reach = (1 << 8 * (stop - place.offset)) - (1 << 8 * (at - place.offset))
            self._put(place, number, reach)
            touched.append((place, RegisterValue.of(register, number)))
            at = stop
        return touched

    def _put(self, place: Place, number: int, reach: int) -> None:
        """Write the bits ``reach`` of ``number``, as the register's access says."""
        register = place.register
        old = self._values.get(place.offset, register.reset)
        changes, clears = register.mask("rw", "wo") & reach, register.mask("rw1c") & reach
        self._values[place.offset] = (old & ~changes | number & changes) & ~(number & clears)


def register_file(block: type[Block], size: int) -> RegisterFile:
    """The registers of ``block`` in a BAR of ``size`` bytes, which costs no more than they do where it is large."""
    return RegisterFile(block, size) if size <= DENSE else SparseRegisterFile(block, size)
