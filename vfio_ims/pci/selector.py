# SPDX-License-Identifier: Apache-2.0
"""Picking functions as lspci does: by slot (``-s``), by ids (``-d``), and by shell globs.

The grammar is that of the lspci and setpci manual pages; a missing part or ``*`` means any.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

from vfio_ims.errors import UsageError
from vfio_ims.pci.address import PciAddress

__all__ = ["IdSelector", "Selector", "SlotSelector"]

_GLOB = re.compile(r"[?\[]|\*[0-9a-f]|[0-9a-f]\*", re.IGNORECASE)


def _hex_part(text: str, what: str, last: int, whole: str) -> int | None:
    """One part of a selector: None for any. Raises UsageError."""
    if text in ("", "*"):
        return None
    # A leading 0x was never in the manual, but lspci takes it, so people write it.
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    if re.fullmatch("[0-9a-fA-F]+", digits) is None or int(digits, 16) > last:
        why = f"{what} must be hex up to {last:x}, or *, not {text!r} (in {whole!r})"
        raise UsageError("select PCI functions", why=why)
    return int(digits, 16)


@dataclass(frozen=True, slots=True)
class SlotSelector:
    """``[[[[domain]:]bus]:][device][.[function]]``; None is any. ``glob``: the text, where it is a pattern."""

    domain: int | None = None
    bus: int | None = None
    device: int | None = None
    function: int | None = None
    glob: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read lspci's ``-s`` or a shell glob such as ``82:0?.*``. Raises UsageError."""
        text = text.strip()
        if _GLOB.search(text):
            return cls(glob=text.lower())
        *front, slot = text.split(":")
        device, _, function = slot.partition(".")
        if len(front) > 2 or "." in function:
            why = f"a slot must be [[domain:]bus:][device][.function], not {text!r}"
            raise UsageError("select PCI functions", why=why)
        domain, bus = ["", *front] if len(front) == 1 else front or ["", ""]
        return cls(
            _hex_part(domain, "domain", 0xFFFF_FFFF, text),
            _hex_part(bus, "bus", 0xFF, text),
            _hex_part(device, "device", 0x1F, text),
            _hex_part(function, "function", 7, text),
        )

    def matches(self, address: PciAddress) -> bool:
        """Whether ``address`` is one of those meant. A glob is held against both spellings, with and without domain."""
        if self.glob is not None:
            return fnmatchcase(str(address), self.glob) or fnmatchcase(address.short, self.glob)
        return all(
            wanted is None or wanted == found
            for wanted, found in (
                (self.domain, address.domain),
                (self.bus, address.bus),
                (self.device, address.device),
                (self.function, address.function),
            )
        )


@dataclass(frozen=True, slots=True)
class IdSelector:
    """``[vendor]:[device][:class[:progif]]``; None is any. ``class_mask``: zeros where the class had ``x``."""

    vendor: int | None = None
    device: int | None = None
    class_code: int | None = None
    class_mask: int = 0xFFFF
    progif: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read lspci's ``-d``: ``8086:``, ``8086:0b25``, ``::02xx``, ``::0108:02``. Raises UsageError."""
        text = text.strip()
        parts = text.split(":")
        if not 2 <= len(parts) <= 4:
            why = f"ids must be [vendor]:[device][:class[:progif]], not {text!r}"
            raise UsageError("select PCI functions", why=why)
        vendor, device, class_text, progif = [*parts, "", ""][:4]
        mask = 0xFFFF
        if class_text not in ("", "*"):
            wild = class_text.lower().translate(str.maketrans("0123456789abcdefx", "f" * 16 + "0"))
            if re.fullmatch("[f0]{1,4}", wild) is None:
                why = f"class must be up to four hex digits or x, not {class_text!r} (in {text!r})"
                raise UsageError("select PCI functions", why=why)
            # Leading digits that were left out are zeros that must match, as in lspci.
            mask = int(wild.rjust(4, "f"), 16)
            class_text = class_text.lower().replace("x", "0")
        return cls(
            _hex_part(vendor, "vendor", 0xFFFF, text),
            _hex_part(device, "device", 0xFFFF, text),
            _hex_part(class_text, "class", 0xFFFF, text),
            mask,
            _hex_part(progif, "progif", 0xFF, text),
        )

    def matches(self, vendor: int, device: int, class_code: int) -> bool:
        """Whether a function with the ids ``vendor`` and ``device`` and this ``class_code`` is one of those meant.

        The code has 24 bits: class, subclass and programming interface, as in config space.
        """
        return (
            self.vendor in (None, vendor)
            and self.device in (None, device)
            and (self.class_code is None or not (self.class_code ^ class_code >> 8) & self.class_mask)
            and self.progif in (None, class_code & 0xFF)
        )


@dataclass(frozen=True, slots=True)
class Selector:
    """Slot and ids together: a function must match both where both are given."""

    slot: SlotSelector = SlotSelector()
    ids: IdSelector = IdSelector()

    @classmethod
    def parse(cls, slot: str = "", ids: str = "") -> Self:
        """Read the arguments of ``-s`` and ``-d``; empty is any. Raises UsageError."""
        return cls(SlotSelector.parse(slot) if slot else SlotSelector(), IdSelector.parse(ids) if ids else IdSelector())

    def matches(self, address: PciAddress, vendor: int, device: int, class_code: int) -> bool:
        """Whether ``address`` matches the slot, and ``vendor``, ``device`` and the 24-bit ``class_code`` the ids."""
        return self.slot.matches(address) and self.ids.matches(vendor, device, class_code)
