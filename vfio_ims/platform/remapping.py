# SPDX-License-Identifier: Apache-2.0
"""Interrupt remapping, VT-d style: handles, who may use them, and where they lead.

A message's handle names an entry of one table that all functions share. An entry belongs to a requester id and is
checked against the sender's (VT-d specification, "Interrupt Remapping", source validation; Linux
drivers/iommu/intel/irq_remapping.c). Freed entries are handed out again, lowest first.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from vfio_ims.counted import counted
from vfio_ims.messages import Message
from vfio_ims.platform.refusals import refusal
from vfio_ims.platform.vectors import Vector

__all__ = ["Claim", "RemappingTable"]

_FORMAT = 1 << 4
_SUBHANDLE_VALID = 1 << 3


@dataclass(slots=True, eq=False)
class Claim:
    """One vector's claim on the interrupt controller, from its allocation until the whole index is disabled.

    ``number``: its remapping entry, or None where vectors are handed out on attach only. ``message``: what raises it
    while it is attached; None otherwise.
    """

    requester: int
    number: int | None = None
    subhandle: int = 0
    message: Message | None = None
    target: Vector | None = None
    cpu: int = field(default=0)


class RemappingTable:
    """``size`` entries (65,536 in the hardware). The platform's lock serialises all calls."""

    remaps = True

    def __init__(self, size: int = 1 << 16) -> None:
        self._used = bytearray(size)
        self._owner: dict[int, Claim] = {}

    def claim(self, requester: int, count: int = 1, *, contiguous: bool = False) -> list[Claim]:
        """Hand out entries; a contiguous block is aligned to its power of two, as MSI wants it. ENOSPC when full."""
        blocks = 1 if contiguous else count
        width = 1 << (count - 1).bit_length() if contiguous else 1
        numbers: list[int] = []
        for _ in range(blocks):
            at = self._free_block(width)
            if at is None:
                for number in numbers:
                    self._used[number] = 0
                why = f"{sum(self._used)} of {len(self._used)} interrupt-remapping entries are in use"
                raise refusal(
                    errno.ENOSPC, f"allocate {counted(count, 'interrupt')}", why=why, hint="use fewer vectors"
                )
            self._used[at : at + width] = b"\1" * width
            numbers += range(at, at + width)
        base = numbers[0]
        claims = [Claim(requester, number, number - base if contiguous else 0) for number in numbers]
        self._owner.update((number, claim) for number, claim in zip(numbers, claims, strict=True))
        return claims

    def _free_block(self, width: int) -> int | None:
        at = self._used.find(bytes(width))
        while at >= 0 and at % width:
            at = self._used.find(bytes(width), at + width - at % width)
        return at if at >= 0 else None

    def activate(self, claim: Claim, target: Vector) -> Message:
        """Make the entry present; returns the message that reaches ``target``. The same one at each attach."""
        assert claim.number is not None
        claim.target = target
        claim.message = Message.remappable(claim.number - claim.subhandle, claim.subhandle)
        return claim.message

    def deactivate(self, claim: Claim) -> None:
        """Not present any more; the entry's number is kept."""
        claim.target = claim.message = None

    def release(self, claims: list[Claim]) -> None:
        """Give the entries back: from now on any function may get these numbers."""
        for claim in claims:
            self.deactivate(claim)
            assert claim.number is not None
            self._used[claim.number] = 0
            self._owner.pop(claim.number, None)

    def move(self, claim: Claim, cpu: int, *, settle: bool = True) -> Message:
        """A vector goes to another CPU: the entry is rewritten, the message is not."""
        assert claim.message is not None
        claim.cpu = cpu
        return claim.message

    def resolve(self, requester: int, address: int, data: int) -> Vector | str:
        """The vector that a message reaches, or why it reaches none."""
        if not address & _FORMAT:
            return "compatibility format, which is blocked while remapping is on"
        number = address >> 5 & 0x7FFF | address << 13 & 0x8000
        if address & _SUBHANDLE_VALID:
            number += data & 0xFFFF
        claim = self._owner.get(number)
        if claim is None or claim.target is None:
            return f"entry {number} is not present"
        if claim.requester != requester:
            owner = claim.requester
            return f"entry {number} belongs to requester {owner >> 8:02x}:{owner >> 3 & 31:02x}.{owner & 7}"
        return claim.target
