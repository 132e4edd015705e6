# SPDX-License-Identifier: Apache-2.0
"""The registers of a model: bytes that honour each register's access kind, and the registers that a write touched."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from vfio_ims.errors import UsageError
from vfio_ims.registers import Block, Register, RegisterValue, Repeat

__all__ = ["Place", "RegisterFile", "View"]


@dataclass(frozen=True, slots=True)
class Place:
    """One register of the file: ``row`` is its index where its block is repeated, None where it stands alone."""

    register: Register
    offset: int
    row: int | None = None


class View:
    """The registers of one block in the file, from ``base``: what the model itself reads and sets, access ignored."""

    __slots__ = ("_base", "_bytes", "_whole")

    def __init__(
        self, data: bytearray, base: int, whole: dict[int, tuple[Place, int, int, int, int]] | None = None
    ) -> None:
        self._bytes, self._base = data, base
        self._whole = {} if whole is None else whole
        """Of the whole file, by offset: place, size and masks as numbers."""

    def _stranger(self, at: int) -> UsageError:
        """Another register than the one that was asked for has its place, or none."""
        why = f"there is no such register at {at:#x} here"
        hint = "one of a repeated block: registers().row(Bar0.QUEUE, number); of another BAR: registers(bar)"
        return UsageError("reach a model's register", why=why, hint=hint)

    def get(self, register: Register) -> RegisterValue:
        at = self._base + register.offset
        found = self._whole.get(at)
        if found is None or found[0].register is not register:
            raise self._stranger(at)
        return RegisterValue.of(register, int.from_bytes(self._bytes[at : at + register.size], "little"))

    def set(self, register: Register, value: int = 0, **fields: int) -> None:
        at = self._base + register.offset
        found = self._whole.get(at)
        if found is None or found[0].register is not register:
            raise self._stranger(at)
        number = register.put(int(value), fields) if fields else int(value)
        self._bytes[at : at + register.size] = number.to_bytes(register.size, "little")

    def update(self, register: Register, **fields: int) -> None:
        self.set(register, self.get(register), **fields)


class RegisterFile(View):
    """``size`` bytes holding the registers of ``block``; bytes that no register declares read zero and keep nothing."""

    __slots__ = ("_changes", "_clears", "_hidden", "_image", "_places", "size")

    def __init__(self, block: type[Block], size: int) -> None:
        super().__init__(bytearray(size), 0)
        self.size = size
        self._image, self._changes, self._clears, self._hidden = (bytearray(size) for _ in range(4))
        self._places: dict[int, Place] = {}
        self._declare(block, 0, None)
        self.reset()

    @property
    def memory(self) -> bytearray:
        """The bytes themselves, never replaced."""
        return self._bytes

    def plain_places(self, width: int, hooked: Collection[Register]) -> list[int]:
        """Where ``width`` bytes can be read as they are: aligned, of one register without write-only bits.

        None in a register of ``hooked``.
        """
        return [
            at
            for start, (place, size, _, _, hidden) in self._whole.items()
            if not hidden and place.register not in hooked
            for at in range(start, start + size - width + 1, width)
            if not at % width
        ]

    def plain_put(self, at: int, width: int, hooked: Collection[Register]) -> tuple[int, int] | None:
        """The bits that a write of ``width`` bytes at ``at`` changes and those that a 1 clears, within one register.

        None where that is of a register of ``hooked``, or of none.
        """
        place = self._places.get(at)
        if place is None or place.register in hooked or at % width or place.offset + place.register.size < at + width:
            return None
        changes, clears = (int.from_bytes(of[at : at + width], "little") for of in (self._changes, self._clears))
        return changes, clears

    def store_whole(self, offset: int, data: bytes) -> tuple[Place, int] | None:
        """Take a write of one whole register, as nearly all are: the register and the number. None for another."""
        whole = self._whole.get(offset)
        if whole is None or whole[1] != len(data):
            return None
        place, size, changes, clears, _ = whole
        number, old = int.from_bytes(data, "little"), int.from_bytes(self._bytes[offset : offset + size], "little")
        new = (old & ~changes | number & changes) & ~(number & clears)
        self._bytes[offset : offset + size] = new.to_bytes(size, "little")
        return place, number

    def _declare(self, block: type[Block], base: int, row: int | None) -> None:
        for register in block.registers.values():
            at, size = base + register.offset, register.size
            span = slice(at, at + size)
            self._image[span] = register.reset.to_bytes(size, "little")
            self._changes[span] = register.mask("rw", "wo").to_bytes(size, "little")
            self._clears[span] = register.mask("rw1c").to_bytes(size, "little")
            self._hidden[span] = register.mask("wo").to_bytes(size, "little")
            place = Place(register, at, row)
            masks = register.mask("rw", "wo"), register.mask("rw1c"), register.mask("wo")
            self._whole[at] = (place, size, *masks)
            for byte in range(at, at + size):
                self._places[byte] = place
        for repeat in block.repeats.values():
            for index in range(repeat.count):
                self._declare(repeat.block, base + repeat.offset + index * repeat.stride, index)

    def row(self, repeat: Repeat[Block], index: int) -> View:
        """The registers of one row of a repeated block."""
        return View(self._bytes, repeat.offset + index * repeat.stride, self._whole)

    def reset(self) -> None:
        """Every register to its declared reset value."""
        self._bytes[:] = self._image

    def place(self, offset: int) -> Place | None:
        """The register that has the byte at ``offset``."""
        return self._places.get(offset)

    def load(self, offset: int, size: int) -> bytes:
        """What the device's side of a read sees: write-only bits as zero."""
        data = self._bytes[offset : offset + size]
        whole = self._whole.get(offset)
        if whole is not None and whole[1] == size and not whole[4]:
            return bytes(data)
        hidden = self._hidden[offset : offset + size]
        if any(hidden):
            return bytes(byte & ~gone for byte, gone in zip(data, hidden, strict=True))
        return bytes(data)

    def store(self, offset: int, data: bytes) -> list[tuple[Place, RegisterValue]]:
        """Take a write: writable bits change, write-1-to-clear bits clear.

        Returns the registers it touched, with the value written to each (bytes that the write left out are the
        register's own).
        """
        whole = self.store_whole(offset, data)
        if whole is not None:
            return [(whole[0], RegisterValue.of(whole[0].register, whole[1]))]
        return self._store_part(offset, data)

    def _store_part(self, offset: int, data: bytes) -> list[tuple[Place, RegisterValue]]:
        touched: list[tuple[Place, RegisterValue]] = []
        kinds = self._bytes, self._changes, self._clears
        end = offset + len(data)
        at = offset
        while at < end:
            found = self._places.get(at)
            if found is None:
                at += 1
                continue
            place = found
            stop = min(end, place.offset + place.register.size)
            written = bytearray(self._bytes[place.offset : place.offset + place.register.size])
            written[at - place.offset : stop - place.offset] = data[at - offset : stop - offset]
            touched.append((place, RegisterValue.of(place.register, int.from_bytes(written, "little"))))
            new, old, changes, clears = (
                int.from_bytes(part, "little")
                for part in (data[at - offset : stop - offset], *(of[at:stop] for of in kinds))
            )
            kept = (old & ~changes | new & changes) & ~(new & clears)
            self._bytes[at:stop] = kept.to_bytes(stop - at, "little")
            at = stop
        return touched
