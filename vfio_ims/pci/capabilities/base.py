# SPDX-License-Identifier: Apache-2.0
"""What every capability is: its bytes, where they lie, and declared fields over them.

The same class decodes and builds. ``decode`` finds capabilities in config space; ``Msix.new(...)`` and its like make
one for ``ConfigBuilder``, whose write masks come from the same declarations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from vfio_ims.errors import UsageError, explain_unknown
from vfio_ims.pci.capabilities.fields import Declared, FieldValue, as_text
from vfio_ims.pci.capabilities.ids import EXTENDED_IDS, STANDARD_IDS, CapabilityId

__all__ = ["HEAD", "Capability", "ExtendedCapability", "StandardCapability"]

HEAD = 32
"""Bytes at a capability's start that say which class decodes it and how large it is."""


@dataclass(frozen=True)
class Capability:
    """One capability. ``data`` is the whole structure, header included; ``offset`` its place (0: none yet).

    A subclass declares its fields, ``capability_id`` and ``minimum`` (bytes that each instance has), and overrides
    ``extent`` where the size varies. A capability of an unknown kind, or one cut short, is a plain
    ``StandardCapability`` or ``ExtendedCapability``: header and bytes.
    """

    data: bytes
    offset: int = 0
    source: str = field(default="", compare=False)

    extended: ClassVar[bool]
    capability_id: ClassVar[int] = -1
    minimum: ClassVar[int]
    reference: ClassVar[str] = ""
    shown: ClassVar[tuple[str, ...]] = ()  # properties that print after the declared fields
    declared: ClassVar[tuple[Declared[Any], ...]] = ()
    kinds: ClassVar[dict[tuple[bool, int], type[Capability]]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        own = [item for item in vars(cls).values() if isinstance(item, Declared)]
        cls.declared = (*cls.declared, *own)
        if "capability_id" in vars(cls):
            cls.kinds.setdefault((cls.extended, cls.capability_id), cls)

    @classmethod
    def refine(cls, data: bytes) -> type[Capability]:
        """The class that decodes this instance, by its first ``HEAD`` bytes.

        Overridden where a vendor's id or the like selects one.
        """
        return cls

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        """Bytes that this instance must have, and that it may have. ``data``: its first ``HEAD``, or to the end."""
        return cls.minimum, cls.minimum

    @classmethod
    def make(cls, size: int, *, version: int = 1, **values: int) -> Self:
        """Build one of ``size`` bytes from its declared fields by name. Raises UsageError for what does not fit."""
        data = bytearray(size)
        header = cls.capability_id if not cls.extended else cls.capability_id | version << 16
        data[: 4 if cls.extended else 2] = header.to_bytes(4 if cls.extended else 2, "little")
        fields = {item.name: item for item in cls.declared}
        for name, value in values.items():
            if name not in fields:
                raise UsageError("build a capability", why=explain_unknown(f"field of {cls.__name__}", name, fields))
            fields[name].write(data, int(value))
        return cls(bytes(data))

    @property
    def id(self) -> int:
        """The id in its header."""
        return int.from_bytes(self.data[: 2 if self.extended else 1], "little")

    @property
    def known(self) -> CapabilityId | None:
        """The id's name, or None if PCI-SIG's list (as known here) has no such id."""
        return (EXTENDED_IDS if self.extended else STANDARD_IDS).get(self.id)

    @property
    def title(self) -> str:
        """What lspci calls it."""
        return self.known.title if self.known else f"Capability ID {self.id:#06x}"

    @property
    def next(self) -> int:
        """Offset of the next capability as it stands there; 0 ends the list."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Bytes of the structure, as far as there are any."""
        return len(self.data)

    @property
    def version(self) -> int:
        """The version in an extended capability's header; a standard one has none there, and says 0."""
        return 0

    def problems(self) -> tuple[str, ...]:
        """What its contents say that cannot be."""
        return ()

    def access_masks(self) -> tuple[bytes, bytes]:
        """The bits that software may write, and those that writing 1 clears, each as long as the structure."""
        writable, clears = bytearray(self.size), bytearray(self.size)
        for item in self.declared:
            mask = {"rw": writable, "w1c": clears}.get(item.access)
            if mask is not None and item.end <= self.size:
                item.write(mask, item.last)
        return bytes(writable), bytes(clears)

    def fields(self) -> tuple[FieldValue, ...]:
        """Every field with its value, then bits that are set though no field is declared for them."""
        there = [item for item in self.declared if item.end <= self.size]
        values = [item.show(self.data) for item in there]
        for name in self.shown:
            value = getattr(self, name)
            values.append(FieldValue(name, value, as_text(value)))
        return (*values, *self._undeclared(there))

    def spelled_out(self) -> tuple[int, int]:
        """The part that properties in ``shown`` decode where no field is declared: first byte, and first byte after."""
        return 0, 0

    def _undeclared(self, there: list[Declared[Any]]) -> list[FieldValue]:
        left = bytearray(self.data)
        left[: 4 if self.extended else 2] = bytes(4 if self.extended else 2)
        start, end = self.spelled_out()
        left[start:end] = bytes(end - start)
        for item in there:
            item.write(left, 0)
        padded = bytes(left) + bytes(-len(left) % 4)
        words = [int.from_bytes(padded[at : at + 4], "little") for at in range(0, len(padded), 4)]
        return [FieldValue(f"undeclared_{4 * n:02x}", word, f"{word:#010x}") for n, word in enumerate(words) if word]

    def summary(self) -> str:
        """One line."""
        return " ".join(f"{item.name}={item.text}" for item in self.fields() if item.value not in (None, False, 0))

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON. Numbers of more than 53 bits also stand as text."""
        return {
            "name": self.title,
            "id": self.id,
            "extended": self.extended,
            "version": self.version,
            "offset": self.offset,
            "size": self.size,
            "source": self.source,
            "fields": {item.name: _json_value(item.value) for item in self.fields()},
            "data": self.data.hex(),
        }

    def __str__(self) -> str:
        where = f"[{self.offset:03x} v{self.version}]" if self.extended else f"[{self.offset:02x}]"
        return f"{where} {self.title}: {self.summary()}".rstrip(": ")


def _json_value(value: int | bool | str | None) -> object:
    return hex(value) if isinstance(value, int) and value >> 53 else value


class StandardCapability(Capability):
    """One from the list that starts at the pointer in the header (PCIe base spec 6.0, section 7.5.1.1.11)."""

    extended = False
    minimum = 2

    @property
    def next(self) -> int:
        return self.data[1] if self.size > 1 else 0


class ExtendedCapability(Capability):
    """One from the list that starts at 0x100 (PCIe base spec 6.0, section 7.6.3)."""

    extended = True
    minimum = 4

    @property
    def version(self) -> int:
        return self.data[2] & 0xF if self.size > 2 else 0

    @property
    def next(self) -> int:
        return int.from_bytes(self.data[2:4], "little") >> 4
