# SPDX-License-Identifier: Apache-2.0
"""Registers of config space as setpci spells them: ``COMMAND``, ``4.W``, ``CAP_MSIX+2.W``, ``ECAP0023+14.L@2``.

The grammar is the setpci manual page's: a base (a name, a hex address, a capability by name or id), ``+offset``,
``.B``, ``.W`` or ``.L``, and ``@n`` for the n-th capability of that kind, counted from 0.
"""

import re
from dataclasses import dataclass
from typing import Self

from vfio_ims.errors import UsageError, explain_unknown
from vfio_ims.pci.capabilities import EXTENDED_IDS, STANDARD_IDS, Capabilities
from vfio_ims.pci.config import FULL_SIZE

__all__ = ["REGISTERS", "ConfigRegister"]

_WIDTHS = {"B": 1, "W": 2, "L": 4}
_SPELLING = re.compile(
    r"(?P<base>[0-9A-Z_]+)(?:\+(?P<offset>[0-9A-F]+))?(?:\.(?P<width>[BWL]))?(?:@(?P<number>[0-9]+))?"
)
_CAPABILITY = re.compile(r"(?P<extended>E?)CAP(?:_(?P<name>[0-9A-Z_]+)|(?P<id>[0-9A-F]+))")

# Name: offset and width (the header's registers, PCIe base spec 6.0, 7.5.1).
REGISTERS = {
    "VENDOR_ID": (0x00, 2),
    "DEVICE_ID": (0x02, 2),
    "COMMAND": (0x04, 2),
    "STATUS": (0x06, 2),
    "REVISION": (0x08, 1),
    "CLASS_PROG": (0x09, 1),
    "CLASS_DEVICE": (0x0A, 2),
    "CACHE_LINE_SIZE": (0x0C, 1),
    "LATENCY_TIMER": (0x0D, 1),
    "HEADER_TYPE": (0x0E, 1),
    "BIST": (0x0F, 1),
    **{f"BASE_ADDRESS_{n}": (0x10 + 4 * n, 4) for n in range(6)},
    "CARDBUS_CIS": (0x28, 4),
    "SUBSYSTEM_VENDOR_ID": (0x2C, 2),
    "SUBSYSTEM_ID": (0x2E, 2),
    "ROM_ADDRESS": (0x30, 4),
    "INTERRUPT_LINE": (0x3C, 1),
    "INTERRUPT_PIN": (0x3D, 1),
    "MIN_GNT": (0x3E, 1),
    "MAX_LAT": (0x3F, 1),
}


def _refuse(why: str, hint: str = "") -> UsageError:
    return UsageError("name a config register", why=why, hint=hint)


@dataclass(frozen=True, slots=True)
class ConfigRegister:
    """A register by name. ``offset`` counts from the capability ``capability_id``, or from 0 where that is None."""

    offset: int
    width: int
    capability_id: int | None = None
    extended: bool = False
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read setpci's spelling, in upper or lower case. Raises UsageError."""
        match = _SPELLING.fullmatch(text.strip().upper())
        if match is None:
            raise _refuse(f"a register must be like COMMAND, 4.W or CAP_MSIX+2.W, not {text!r}")
        base, width = match["base"], _WIDTHS[match["width"]] if match["width"] else 0
        offset = int(match["offset"] or "0", 16)
        capability = _CAPABILITY.fullmatch(base)
        if capability is None:
            if match["number"] is not None:
                raise _refuse(f"@{match['number']} counts capabilities, and {base} is none (in {text!r})")
            start, natural = cls._plain(base, text)
            found = cls(start + offset, width or natural)
        else:
            extended = bool(capability["extended"])
            found = cls(offset, width, cls._id(capability, extended), extended, int(match["number"] or "0"))
        if not found.width:
            raise _refuse(f"{text!r} must end in its width, .B, .W or .L")
        if found.offset + found.width > FULL_SIZE or found.offset % found.width:
            raise _refuse(
                f"offset must be a multiple of {found.width} below 0x1000, not {found.offset:#x} (in {text!r})"
            )
        return found

    @staticmethod
    def _plain(base: str, text: str) -> tuple[int, int]:
        if base in REGISTERS:
            return REGISTERS[base]
        if re.fullmatch("[0-9A-F]+", base):
            return int(base, 16), 0
        raise _refuse(f"{explain_unknown('register', base, [*REGISTERS, 'CAP_…', 'ECAP_…'])} (in {text!r})")

    @staticmethod
    def _id(capability: re.Match[str], extended: bool) -> int:
        if capability["id"] is not None:
            return int(capability["id"], 16)
        ids = {name.short: number for number, name in (EXTENDED_IDS if extended else STANDARD_IDS).items()}
        if capability["name"] not in ids:
            raise _refuse(explain_unknown("capability", capability["name"], ids))
        return ids[capability["name"]]

    def resolve(self, capabilities: Capabilities) -> int:
        """Its offset in this function's config space. Raises UsageError if the function has no such capability."""
        if self.capability_id is None:
            return self.offset
        found = capabilities.by_id(self.capability_id, extended=self.extended)
        if self.number >= len(found):
            table = EXTENDED_IDS if self.extended else STANDARD_IDS
            name = table[self.capability_id].title if self.capability_id in table else f"id {self.capability_id:#x}"
            count = f"{len(found)} of them" if found else "none"
            hint = "" if capabilities.complete else f"more may be hidden: {capabilities.source} does not show all"
            raise _refuse(f"the function has {count}: {name} @{self.number}", hint)
        return found[self.number].offset + self.offset
