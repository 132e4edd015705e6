# SPDX-License-Identifier: Apache-2.0
"""A slot table declared by hand, for silicon that has no driver yet: BAR, offset, stride, count.

0:1000:10:40                         64 entries of 16 bytes from 0x1000 in BAR 0, laid out as DSA's
2:0:20:800,mask=none,pending=none    other words and bits by name; all numbers are hex
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from vfio_ims.driver import Driver, FireReport
from vfio_ims.errors import UnsupportedError, UsageError, check_index, explain_unknown
from vfio_ims.host.register_names import Place
from vfio_ims.ims import FireStatus, SlotArray
from vfio_ims.registers import SlotLayout

__all__ = ["DeclaredTable", "declared_driver", "parse_table"]

_OPTIONS = ("low", "high", "data", "control", "mask", "pending")
_SPELLING = re.compile(r"([0-5]):([0-9a-fA-F]+):([0-9a-fA-F]+):([0-9a-fA-F]+)((?:,\w+=\w+)*)")


def parse_table(text: str) -> SlotLayout:
    """Read ``BAR:OFFSET:STRIDE:COUNT[,word=offset|none]…``, hex. Raises UsageError."""
    match = _SPELLING.fullmatch(text.strip())
    if match is None:
        why = f"a table must be BAR:OFFSET:STRIDE:COUNT in hex, then ,mask=none and such, not {text!r}"
        raise UsageError("declare a slot table", why=why)
    bar, offset, stride, count = (int(part, 16) for part in match.groups()[:4])
    words: dict[str, int | None] = {}
    for part in match[5].split(",")[1:]:
        name, _, value = part.partition("=")
        if name not in _OPTIONS:
            raise UsageError("declare a slot table", why=explain_unknown("option", name, _OPTIONS))
        try:
            words[name] = None if value == "none" else int(value, 16)
        except ValueError as error:
            why = f"{name} must be a hex number or none, not {value!r}"
            raise UsageError("declare a slot table", why=why) from error
    if words.get("control", 0) is None:
        words |= {"mask": None, "pending": None}
    return SlotLayout(bar, offset, count, stride, **words)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class DeclaredTable:
    """What was declared. ``doorbell``: a register that raises the slot whose number is written to it, or None."""

    layout: SlotLayout
    doorbell: Place | None = None


class _Declared(Driver):
    """Drives nothing but the table."""

    declared: ClassVar[DeclaredTable]

    def start(self) -> None:
        """Nothing is known of how to start it."""

    def ims_table(self) -> SlotArray:
        return SlotArray(self.device, self.declared.layout)

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        doorbell, layout = self.declared.doorbell, self.declared.layout
        check_index(slot, layout.count, "slot", "fire a slot", self.label)
        if doorbell is None or doorbell.bar is None:
            why, hint = "no register that fires slots was declared", "--fire BAR0+8.L, or write a driver"
            raise UnsupportedError(f"fire slot {slot}", device=self.label, why=why, hint=hint)
        if pasid is not None:
            why = "nothing is known of how this device tags its work"
            raise UnsupportedError(f"fire slot {slot} for PASID {pasid}", device=self.label, why=why)
        getattr(self.device.bar(doorbell.bar), f"write{doorbell.width * 8}")(doorbell.offset, slot)
        # The entry's own word: a read that flushes the write, of a place whose reads are known to be harmless.
        at = layout.data if layout.control is None else layout.control
        word = self.device.bar(layout.bar).read32(layout.at(slot) + at)
        held = layout.control is not None and layout.is_pending(word)
        return FireReport(FireStatus.PENDING if held else FireStatus.SENT, "as the entry's pending bit has it")


def declared_driver(table: DeclaredTable) -> type[Driver]:
    """A driver for any device that has this table."""
    return type("Declared", (_Declared,), {"declared": table})
