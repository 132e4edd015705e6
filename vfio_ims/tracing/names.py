# SPDX-License-Identifier: Apache-2.0
"""Names of registers for recorded accesses: those that a family declares, and the slots of the device's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vfio_ims.errors import VfioImsError
from vfio_ims.families import blocks_of, family_for
from vfio_ims.registers.register import RegisterValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from vfio_ims.ports.values import Area
    from vfio_ims.registers import Block, SlotLayout
    from vfio_ims.registers.register import Register
    from vfio_ims.tracing.format import Event

__all__ = ["RegisterNames", "declared_blocks"]

_ENTRY = {0: "low", 4: "high", 8: "data", 12: "control"}


def declared_blocks(ids: str) -> Mapping[int, type[Block]]:
    """By BAR, what the family of a device declares; nothing where no family knows it. ``ids`` as in 8086:0b25."""
    vendor, device = (int(part, 16) for part in ids.split(":"))
    try:
        return blocks_of(family_for(vendor, device))
    except VfioImsError:
        return {}


class RegisterNames:
    """Finds the declaration of an access by BAR and offset.

    What no block declares may lie in one of the slot tables that ``layouts`` gives, or in the MSI-X table (``msix``:
    its BAR, and where in it).
    """

    def __init__(
        self,
        blocks: Mapping[int, type[Block]],
        layouts: Callable[[], Iterable[SlotLayout]] = tuple,
        msix: Callable[[], tuple[int, Area] | None] = lambda: None,
    ) -> None:
        self._blocks, self._layouts, self._msix = blocks, layouts, msix
        self._bound: list[tuple[int, int, type[Block]]] = []
        self._found: dict[tuple[int, int], tuple[str, Register | None, int]] = {}

    def describe(self, region: int, offset: int, width: int, value: int, written: bool) -> Event | None:
        """Name, fields and side effects of an access; None where nothing declares it."""
        key = (region, offset)
        found = self._found.get(key)
        if found is None:
            found = self._find(region, offset)
            if found is None:
                return None
            self._found[key] = found
        name, register, part = found
        event: dict[str, Any] = {"name": name}
        if register is not None and not part and 8 * width == register.width:
            fields = register.fields
            if fields:
                number = RegisterValue.of(register, value)
                words = {one: field.word(number) for one, field in fields.items() if field.get(number)}
                event |= {"fields": words} if words else {}
            clears = register.mask("rw1c") & value if written else 0
            if clears:
                event["effect"] = f"clears {clears:#x}"
            elif not written and register.on_read != "nothing":
                event["effect"] = f"the read {register.on_read} {'it' if register.on_read == 'clears' else 'an entry'}"
        return event

    def messages(self, region: int, stores: Iterable[Sequence[int]]) -> dict[int, tuple[int, int]]:
        """By slot, the address and data that the stores of a table write, where they write whole messages."""
        found: dict[int, dict[str, int]] = {}
        for layout in self._layouts():
            if layout.bar != region or layout.low is None:
                continue
            words = {layout.low: "low", layout.high: "high", layout.data: "data"}
            for offset, value in stores:
                index, inside = divmod(offset - layout.offset, layout.stride)
                if 0 <= index < layout.count and inside in words:
                    found.setdefault(index, {})[words[inside]] = value
        whole = {index: words for index, words in found.items() if "low" in words and "data" in words}
        return {index: (words.get("high", 0) << 32 | words["low"], words["data"]) for index, words in whole.items()}

    def bound(self, region: int, base: int, block: type[Block]) -> None:
        """A block was bound at ``base`` of a BAR: a place that the device itself reports, say."""
        if base and (region, base, block) not in self._bound:
            self._bound.append((region, base, block))

    def _find(self, region: int, offset: int) -> tuple[str, Register | None, int] | None:
        block = self._blocks.get(region)
        if block is not None and (found := _within(block, offset)) is not None:
            return found
        for layout in self._layouts():
            if layout.bar == region and layout.offset <= offset < layout.end:
                index, inside = divmod(offset - layout.offset, layout.stride)
                words = {layout.low: "low", layout.high: "high", layout.data: "data", layout.control: "control"}
                return f"slot[{index}].{words.get(inside, f'+{inside:#x}')}", None, 0
        msix = self._msix()
        if msix is not None and msix[0] == region and msix[1].holds(offset):
            vector, inside = divmod(offset - msix[1].offset, 16)
            return f"MSIX[{vector}].{_ENTRY.get(inside, f'+{inside:#x}')}", None, 0
        for bar, base, bound in self._bound:
            if bar == region and (found := _within(bound, offset - base)) is not None:
                name, register, part = found
                return f"{bound.__name__}@{base:#x}.{name}", register, part
        return None


def _within(block: type[Block], offset: int) -> tuple[str, Register | None, int] | None:
    """The register of ``block`` that has its byte ``offset``, in repeated blocks too."""
    for name, register in block.registers.items():
        if 0 <= (part := offset - register.offset) < register.size:
            return (f"{name}+{part:#x}" if part else name), register, part
    for name, repeat in block.repeats.items():
        for inner, register in repeat.block.registers.items():
            index, part = divmod(offset - repeat.offset - register.offset, repeat.stride)
            if 0 <= index < repeat.count and part < register.size:
                return f"{name}[{index}].{inner}" + (f"+{part:#x}" if part else ""), register, part
    return None
