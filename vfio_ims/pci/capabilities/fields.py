# SPDX-License-Identifier: Apache-2.0
"""Declared fields of a capability: offset, bits, name and access, once, for decoding and for building."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, Self, TypeVar, overload

from vfio_ims.errors import UsageError

__all__ = ["Access", "Bits", "Declared", "FieldValue", "Flag", "MaybeBits", "MaybeFlag", "as_text"]

T = TypeVar("T")
Access = Literal["ro", "rw", "w1c"]


@dataclass(frozen=True, slots=True)
class FieldValue:
    """One field of a decoded capability, for printing. ``value`` None: past the end of what there is.

    ``text`` says the value in words. ``note`` says what is to be known before relying on the field.
    """

    name: str
    value: int | bool | str | None
    text: str
    note: str = ""


def as_text(value: int | bool | str | None) -> str:
    """A value with no words of its own: flags as lspci prints them, numbers from ten up in hex."""
    if value is None:
        return "not there"
    if isinstance(value, bool):
        return "+" if value else "-"
    return hex(value) if isinstance(value, int) and value > 9 else str(value)


class _Capability(Protocol):
    """What a field reads: ``Capability`` in ``base.py``."""

    @property
    def data(self) -> bytes: ...


class Declared(Generic[T]):
    """Bits ``low`` to ``high`` of the little-endian number at ``offset`` from the capability's start.

    ``access`` is what software may do: "ro", "rw", or "w1c" (writing 1 clears). A bit that always reads as 0, such as
    one that starts a reset, is "ro" here: who models it looks at the write. ``words`` puts a value in words.
    ``shift``: the value is the bits times ``2 ** shift``, as in an address whose low bits are not stored.
    """

    is_flag = False

    def __init__(
        self,
        offset: int,
        high: int,
        low: int | None = None,
        *,
        access: Access = "ro",
        shift: int = 0,
        words: Mapping[int, str] | Callable[[int], str] | None = None,
        note: str = "",
    ) -> None:
        self.offset, self.high, self.low = offset, high, high if low is None else low
        self.access, self.shift, self.words, self.note = access, shift, words, note
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, capability: None, owner: type) -> Self: ...
    @overload
    def __get__(self, capability: _Capability, owner: type) -> T: ...
    def __get__(self, capability: _Capability | None, owner: type) -> Self | T:
        return self if capability is None else self._convert(self.read(capability.data))

    def _convert(self, value: int | None) -> T:
        raise NotImplementedError

    @property
    def end(self) -> int:
        """The first byte after the field."""
        return self.offset + self.high // 8 + 1

    @property
    def last(self) -> int:
        """The greatest value that fits."""
        return (1 << self.high - self.low + 1) - 1 << self.shift

    def read(self, data: bytes) -> int | None:
        """The value in ``data``, or None where that is too short."""
        if len(data) < self.end:
            return None
        return int.from_bytes(data[self.offset : self.end], "little") >> self.low << self.shift & self.last

    def write(self, data: bytearray, value: int) -> None:
        """Put ``value`` there. Raises UsageError if it does not fit, or ``data`` has no such bytes."""
        if not 0 <= value <= self.last or value & ~self.last:
            step = f" in steps of {1 << self.shift}" if self.shift else ""
            why = f"{self.name} must be 0 to {self.last:#x}{step}, not {value!r}"
            raise UsageError("build a capability", why=why)
        if len(data) < self.end:
            why = f"{self.name} lies at {self.offset:#x}, past the end of this form of the capability"
            raise UsageError("build a capability", why=why)
        kept = int.from_bytes(data[self.offset : self.end], "little") & ~(self.last >> self.shift << self.low)
        bits = kept | value >> self.shift << self.low
        data[self.offset : self.end] = bits.to_bytes(self.end - self.offset, "little")

    def show(self, data: bytes) -> FieldValue:
        """The field as it prints."""
        raw = self.read(data)
        value = None if raw is None else bool(raw) if self.is_flag else raw
        return FieldValue(self.name, value, self._text(raw, value), self.note)

    def _text(self, raw: int | None, value: int | bool | None) -> str:
        if raw is None or self.words is None:
            return as_text(value)
        return self.words(raw) if callable(self.words) else self.words.get(raw, f"reserved ({raw:#x})")


class Bits(Declared[int]):
    """A number. Reads 0 where the structure ends before it, which decoding does not let happen for mandatory fields."""

    def _convert(self, value: int | None) -> int:
        return value or 0


class MaybeBits(Declared[int | None]):
    """A number that only some forms of the capability have: None in the others."""

    def _convert(self, value: int | None) -> int | None:
        return value


class Flag(Declared[bool]):
    """One bit."""

    is_flag = True

    def _convert(self, value: int | None) -> bool:
        return bool(value)


class MaybeFlag(Declared[bool | None]):
    """One bit that only some forms of the capability have: None in the others."""

    is_flag = True

    def _convert(self, value: int | None) -> bool | None:
        return None if value is None else bool(value)
