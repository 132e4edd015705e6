# SPDX-License-Identifier: Apache-2.0
"""Following the two capability lists. Never raises and always ends, whatever the bytes say."""

from collections.abc import Iterator

from vfio_ims.pci.capabilities.diagnosis import Diagnosis, Fault
from vfio_ims.pci.config import EXTENDED_START, HEADER_SIZE, STANDARD_SIZE, ConfigSpace

__all__ = ["walk_extended", "walk_standard"]


def _follow(
    config: ConfigSpace, first: int, origin: int, lowest: int, end: int, faults: list[Diagnosis]
) -> Iterator[int]:
    """Offsets of a list's capabilities; ``origin`` is where the ``first`` pointer was read."""
    seen: set[int] = set()
    pointer, holder = first, origin
    extended = lowest == EXTENDED_START
    while pointer:
        if pointer & 3:
            # The two low bits are reserved: software masks them (7.5.1.1.11, 7.6.3).
            faults.append(Diagnosis(Fault.MISALIGNED, holder, f"pointer {pointer:#x} is not a multiple of 4"))
            pointer &= ~3
        if pointer < lowest:
            what = "the standard space" if extended else "the header"
            if pointer:
                faults.append(Diagnosis(Fault.INTO_HEADER, holder, f"pointer {pointer:#x} leads into {what}"))
            return
        if pointer in seen:
            faults.append(Diagnosis(Fault.LOOP, holder, f"pointer {pointer:#x} leads back: the list is a loop"))
            return
        if pointer + 4 > end:
            faults.append(Diagnosis(Fault.PAST_END, holder, f"pointer {pointer:#x} leads past what could be read"))
            return
        seen.add(pointer)
        header = config.read(pointer, 4)
        if header == 0xFFFF_FFFF or (not extended and header & 0xFF == 0xFF):
            faults.append(Diagnosis(Fault.GARBAGE, pointer, "reads as all ones: no capability here"))
            return
        if extended and header == 0 and pointer != EXTENDED_START:
            faults.append(Diagnosis(Fault.GARBAGE, pointer, "reads as zero: no capability here"))
            return
        yield pointer
        holder = pointer
        pointer = header >> 20 if extended else header >> 8 & 0xFF


def walk_standard(config: ConfigSpace, faults: list[Diagnosis]) -> list[int]:
    """Offsets of the standard capabilities, in the list's order; what is wrong is added to ``faults``."""
    if not config.header.has_capabilities or not config.standard_readable:
        return []
    kind = config.header.kind
    if kind is None:
        faults.append(Diagnosis(Fault.GARBAGE, 0x0E, f"header type {config.read(0x0E, 1) & 0x7F:#x} is not defined"))
    first = config.header.capability_pointer
    return list(_follow(config, first, 0x34, HEADER_SIZE, STANDARD_SIZE, faults))


def walk_extended(config: ConfigSpace, faults: list[Diagnosis]) -> list[int]:
    """Offsets of the extended capabilities, in the list's order; what is wrong is added to ``faults``."""
    if len(config) < EXTENDED_START + 4 or config.read(EXTENDED_START, 4) == 0:
        return []
    if _aliased(config):
        # Seen on bridges that do not decode the upper address bits; the kernel checks too (pci_ext_cfg_is_aliased).
        faults.append(Diagnosis(Fault.ALIASED, EXTENDED_START, "extended space repeats the first 256 bytes"))
        return []
    return list(_follow(config, EXTENDED_START, EXTENDED_START, EXTENDED_START, len(config), faults))


def _aliased(config: ConfigSpace) -> bool:
    first = config.read(0, 4)
    return all(config.read(at, 4) == first for at in range(EXTENDED_START, len(config) - 3, EXTENDED_START))
