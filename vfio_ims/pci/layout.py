# SPDX-License-Identifier: Apache-2.0
"""Placing capabilities in config space and chaining them."""

from collections.abc import Sequence
from dataclasses import replace

from vfio_ims.errors import UsageError
from vfio_ims.pci.capabilities.base import Capability, ExtendedCapability
from vfio_ims.pci.config import EXTENDED_START

__all__ = ["lay_out"]


def _free(offset: int, size: int, taken: dict[int, int]) -> bool:
    return all(offset + size <= start or end <= offset for start, end in taken.items())


def _place(wanted: Sequence[tuple[Capability, int | None]], first: int, end: int, step: int) -> list[int]:
    """An offset for each: those that name one first, the others from the front, each at a multiple of ``step``."""
    taken: dict[int, int] = {}
    offsets: dict[int, int] = {}
    for number, (capability, at) in enumerate(wanted):
        if at is None:
            continue
        if at & 3 or not first <= at <= end - capability.size:
            why = f"a capability's place must be a multiple of 4 in {first:#x} to {end:#x}, with room, not {at:#x}"
            raise UsageError("build config space", why=why)
        if not _free(at, capability.size, taken):
            why = f"{capability.title} at {at:#x}, {capability.size:#x} bytes, must not overlap another capability"
            raise UsageError("build config space", why=why)
        taken[at], offsets[number] = at + capability.size, at
    for number, (capability, at) in enumerate(wanted):
        if at is not None:
            continue
        spot = next(
            (o for o in range(first, end - capability.size + 1, step) if _free(o, capability.size, taken)), None
        )
        if spot is None:
            why = f"{capability.title}, {capability.size:#x} bytes, must fit between {first:#x} and {end:#x}"
            raise UsageError("build config space", why=why)
        taken[spot], offsets[number] = spot + capability.size, spot
    return [offsets[number] for number in range(len(wanted))]


def lay_out(wanted: Sequence[tuple[Capability, int | None]], first: int, end: int, step: int) -> list[Capability]:
    """Place and chain capabilities of one list, in the order given.

    The extended list must start at 0x100: whatever lies there goes first, or a null capability if nothing does.
    """
    if not wanted:
        return []
    extended = wanted[0][0].extended
    spots = _place(wanted, first, end, step)
    if extended and EXTENDED_START not in spots:
        wanted = [(ExtendedCapability(bytes(4)), EXTENDED_START), *wanted]
        spots = [EXTENDED_START, *spots]
    order = list(zip(spots, (capability for capability, _ in wanted), strict=True))
    if extended:
        order.sort(key=lambda spot: spot[0] != EXTENDED_START)  # stable: the others keep their order
    following = [spot for spot, _ in order[1:]] + [0]
    return [_chained(one, spot, after) for (spot, one), after in zip(order, following, strict=True)]


def _chained(capability: Capability, offset: int, after: int) -> Capability:
    data = bytearray(capability.data)
    if capability.extended:
        data[2:4] = (capability.version | after << 4).to_bytes(2, "little")
    else:
        data[1] = after
    return replace(capability, data=bytes(data), offset=offset)
