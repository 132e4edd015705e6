# SPDX-License-Identifier: Apache-2.0
"""Registers as people spell them: setpci's spelling for config space, the same for BARs, and drivers' own names.

COMMAND   4.W   CAP_MSIX+2.W   ECAP0023+14.L@1      config space, as in setpci
BAR0+1000.L   BAR2+0.Q                              a BAR: hex offset, width B, W, L or Q
GENCAP   BAR0.STATUS   SWQ[3].STATE                 a register that the device's driver declares
CONFIG.STATUS                                       config space's, where the driver has one of that name, too
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError, explain_unknown
from vfio_ims.pci import ConfigRegister
from vfio_ims.pci.spelling import REGISTERS

if TYPE_CHECKING:
    from vfio_ims.pci.capabilities import Capabilities
    from vfio_ims.registers import Block
    from vfio_ims.registers.register import Register

__all__ = ["Place", "Write", "find_register", "parse_write"]

_CONFIG = "CONFIG."
_WIDTHS = {"B": 1, "W": 2, "L": 4, "Q": 8}
# Read-only in a type 0 header: ids, revision and class; type; subsystem; capabilities pointer; pin, Min_Gnt, Max_Lat
# (PCIe base spec 6.0, 7.5.1).
_HEADER_READ_ONLY = ((0x00, 4), (0x08, 4), (0x0E, 1), (0x2C, 4), (0x34, 1), (0x3D, 3))
_BAR = re.compile(r"BAR(?P<bar>[0-5])\+(?P<offset>(?:0X)?[0-9A-F]+)\.(?P<width>[BWLQ])")
_NAMED = re.compile(r"(?:BAR(?P<bar>[0-5])\.)?(?:(?P<repeat>\w+)\[(?P<index>\d+)\]\.)?(?P<name>\w+)")
_VALUE = re.compile(r"(?:0[xX])?([0-9a-fA-F]+)(?::(?:0[xX])?([0-9a-fA-F]+))?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a register is: in BAR ``bar`` or, where that is None, in config space; ``width`` in bytes.

    ``declared`` is the driver's declaration of it, or empty.
    """

    bar: int | None
    offset: int
    width: int
    title: str
    declared: tuple[Register, ...] = ()

    @property
    def read_only(self) -> bool:
        """Whether it is known to take no write: by the driver's declaration or, in the header, by PCI."""
        if self.bar is None:
            return any(at <= self.offset and self.offset + self.width <= at + size for at, size in _HEADER_READ_ONLY)
        return bool(self.declared) and not self.declared[0].mask("rw", "wo", "rw1c")

    def __str__(self) -> str:
        space = "config" if self.bar is None else f"BAR{self.bar}"
        letter = {size: name for name, size in _WIDTHS.items()}.get(self.width, f"{self.width * 8} bits")
        return f"{space}+{self.offset:x}.{letter}"


@dataclass(frozen=True, slots=True)
class Write:
    """``value`` to ``place``; with a ``mask`` only those bits, the others as they are read first."""

    place: Place
    value: int
    mask: int | None = None

    def merged(self, current: int) -> int:
        """What to store over ``current``."""
        return self.value if self.mask is None else current & ~self.mask | self.value & self.mask


def _declared(blocks: dict[int, type[Block]]) -> Iterator[str]:
    for block in blocks.values():
        yield from block.registers
        for name, repeat in block.repeats.items():
            yield from (f"{name}[…].{register}" for register in repeat.block.registers)


def find_register(text: str, capabilities: Capabilities, blocks: dict[int, type[Block]]) -> Place:
    """The register that ``text`` names. Raises UsageError, which lists what there is."""
    spelled = text.strip()
    match = _BAR.fullmatch(spelled.upper())
    if match is not None:
        offset, width = int(match["offset"], 16), _WIDTHS[match["width"]]
        if offset % width:
            raise UsageError(
                "name a register", why=f"offset must be a multiple of {width}, not {offset:#x} (in {text!r})"
            )
        return Place(int(match["bar"]), offset, width, spelled)
    plain = spelled.upper()
    if plain.startswith(_CONFIG):
        register = ConfigRegister.parse(plain.removeprefix(_CONFIG))
        return Place(None, register.resolve(capabilities), register.width, plain.removeprefix(_CONFIG))
    _refuse_ambiguous(spelled, blocks)
    own = _own(spelled, blocks)
    if own is not None:
        return own
    try:
        register = ConfigRegister.parse(spelled)
    except UsageError as error:
        if re.fullmatch(r"\w+", spelled) and not re.fullmatch(r"E?CAP\w*|[0-9a-fA-F]+", spelled):
            names = [*REGISTERS, *_declared(blocks), "CAP_…", "ECAP_…", "BARn+…"]
            raise UsageError("name a register", why=explain_unknown("register", spelled, names)) from error
        raise
    return Place(None, register.resolve(capabilities), register.width, spelled.upper())


def _refuse_ambiguous(text: str, blocks: dict[int, type[Block]]) -> None:
    """Raise UsageError, with every full name, where a plain name is that of more than one register."""
    match = _NAMED.fullmatch(text)
    if match is None or match["bar"] is not None:
        return
    name = match["name"]
    full = [f"{_CONFIG}{name.upper()}"] if match["repeat"] is None and name.upper() in REGISTERS else []
    for number, block in blocks.items():
        repeat = None if match["repeat"] is None else block.repeats.get(match["repeat"])
        inside = block if match["repeat"] is None else None if repeat is None else repeat.block
        if inside is not None and {name, name.upper()} & inside.registers.keys():
            own = name if name in inside.registers else name.upper()
            full.append(
                f"BAR{number}.{own}" if repeat is None else f"BAR{number}.{match['repeat']}[{match['index']}].{own}"
            )
    if len(full) > 1:
        why = f"{text} is the name of {counted(len(full), 'register')}: {', '.join(full)}"
        raise UsageError("name a register", why=why, hint="name one of them")


def _own(text: str, blocks: dict[int, type[Block]]) -> Place | None:
    """A register that the driver declares."""
    match = _NAMED.fullmatch(text)
    if match is None:
        return None
    for number, block in blocks.items():
        if match["bar"] not in (None, str(number)):
            continue
        base, inside = 0, block
        if match["repeat"] is not None:
            repeat = block.repeats.get(match["repeat"])
            if repeat is None:
                continue
            index = int(match["index"])
            if index >= repeat.count:
                why = f"{match['repeat']} has {counted(repeat.count, 'entry')}, and {index} is not one of them"
                raise UsageError("name a register", why=why)
            base, inside = repeat.offset + index * repeat.stride, repeat.block
        register = inside.registers.get(match["name"]) or inside.registers.get(match["name"].upper())
        if register is not None:
            title = f"BAR{number}.{text.removeprefix(f'BAR{number}.')}"
            return Place(number, base + register.offset, register.size, title, (register,))
    if match["bar"] is not None or match["repeat"] is not None:
        raise UsageError("name a register", why=explain_unknown("register", text, _declared(blocks)))
    return None


def parse_write(text: str, capabilities: Capabilities, blocks: dict[int, type[Block]]) -> list[Write]:
    """``REGISTER=value[:mask][,value…]``, hex; several values go to the registers that follow. Raises UsageError."""
    name, equals, values = text.partition("=")
    if not equals:
        why = f"a write must be REGISTER=VALUE or REGISTER=VALUE:MASK, not {text!r}"
        raise UsageError("write a register", why=why)
    place = find_register(name, capabilities, blocks)
    writes = []
    for number, part in enumerate(values.split(",")):
        match = _VALUE.fullmatch(part.strip())
        if match is None:
            raise UsageError("write a register", why=f"a value must be hex, such as 06 or 06:07, not {part!r}")
        value = int(match[1], 16)
        mask = None if match[2] is None else int(match[2], 16)
        if max(value, mask or 0) >> 8 * place.width:
            raise UsageError(
                "write a register", why=f"{part!r} does not fit the {counted(place.width, 'byte')} of {name}"
            )
        following = Place(
            place.bar,
            place.offset + number * place.width,
            place.width,
            place.title if number == 0 else f"{place.title} and {number} on",
            place.declared if number == 0 else (),
        )
        writes.append(Write(following, value, mask))
    return writes
