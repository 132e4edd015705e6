# SPDX-License-Identifier: Apache-2.0
"""What turns messages into interrupts, as the rest of the platform sees it; and most of one that has numbered entries.

Facts about Linux are from the 7.3 sources: the function that composes a message is named at each controller.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Protocol

from vfio_ims.counted import counted
from vfio_ims.messages import Format, Message
from vfio_ims.platform.numbers import Numbers
from vfio_ims.platform.refusals import refusal
from vfio_ims.platform.vectors import Vector

__all__ = ["Claim", "Controller", "NumberedController", "function_name"]


@dataclass(slots=True, eq=False)
class Claim:
    """One vector's claim on the interrupt controller, from its allocation until the whole index is disabled.

    ``number``: its entry, or None where vectors are handed out on attach only. ``message``: what raises it
    while it is attached; None otherwise.
    """

    requester: int
    number: int | None = None
    subhandle: int = 0
    message: Message | None = None
    target: Vector | None = None
    cpu: int = field(default=0)


class Controller(Protocol):
    """One kind of platform. The platform's lock serialises all calls."""

    text: str
    """What it is, in words."""
    format: Format
    """Of its messages."""
    isolates: bool
    """Whether it checks who sends: no function reaches another's vectors."""
    moves: bool
    """Whether a vector that moves to another CPU gets another message, so that every copy of the old one is stale."""
    window: range
    """Addresses that are never memory: a 4-byte write there is a message, or goes nowhere."""
    with_pasid: str
    """Why a write there that is tagged with a PASID is no interrupt."""

    def claim(self, requester: int, count: int = 1, *, contiguous: bool = False) -> list[Claim]:
        """Hand out ``count`` interrupts; ``contiguous``: as multi-vector MSI wants them. DeviceBusy (ENOSPC)."""
        ...

    def activate(self, claim: Claim, target: Vector) -> Message:
        """Let the claim's message reach ``target``; the message."""
        ...

    def deactivate(self, claim: Claim) -> None: ...
    def release(self, claims: list[Claim]) -> None: ...

    def move(self, claim: Claim, cpu: int, *, settle: bool = True) -> Message:
        """Another CPU takes the vector; its message now."""
        ...

    def resolve(self, requester: int, address: int, data: int) -> Vector | str:
        """The vector that a message reaches, or why it reaches none."""
        ...


class NumberedController:
    """A controller whose messages name entries: of one table for all functions, or of a table for each.

    A vector keeps its entry, and so its message, from allocation until the whole index is disabled, whatever CPU takes
    it. ``entries``: how many a table has; ``first``: the lowest number. ``blocks``: whether multi-vector MSI can have a
    row of them. ``what``: an entry's name, for messages of errors.
    """

    moves = False
    isolates = True
    what = "interrupt-remapping entry"
    whats = "interrupt-remapping entries"

    def __init__(self, entries: int, *, first: int = 0, blocks: bool = True, per_function: bool = False) -> None:
        self.entries, self._first, self._blocks, self._per_function = entries, first, blocks, per_function
        self._tables: dict[int, Numbers] = {}
        self._claims: dict[tuple[int, int], Claim] = {}

    def _table(self, requester: int) -> Numbers:
        return self._tables.setdefault(self._key(requester), Numbers(self.entries, self._first))

    def _key(self, requester: int) -> int:
        return requester if self._per_function else -1

    def claim(self, requester: int, count: int = 1, *, contiguous: bool = False) -> list[Claim]:
        """Hand out entries; a contiguous block is aligned to its power of two, as MSI wants it. ENOSPC when full."""
        if contiguous and count > 1 and not self._blocks:
            why = f"here a message can name one {self.what} only, so a function has one MSI vector"
            raise refusal(errno.ENOSPC, f"allocate {counted(count, 'interrupt')}", why=why, hint="ask for one")
        table = self._table(requester)
        width = 1 << (count - 1).bit_length() if contiguous else 1
        numbers: list[int] = []
        for _ in range(1 if contiguous else count):
            at = table.take(width)
            if at is None:
                for number in numbers:
                    table.give(number)
                why = f"{table.used} of {table.size} {self.whats} are in use"
                raise refusal(
                    errno.ENOSPC, f"allocate {counted(count, 'interrupt')}", why=why, hint="use fewer vectors"
                )
            numbers += range(at, at + width)
        base = numbers[0]
        claims = [Claim(requester, number, number - base if contiguous else 0) for number in numbers]
        self._claims.update(
            ((self._key(requester), number), claim) for number, claim in zip(numbers, claims, strict=True)
        )
        return claims

    def compose(self, claim: Claim) -> Message:
        """The message that names the claim's entry."""
        raise NotImplementedError

    def activate(self, claim: Claim, target: Vector) -> Message:
        """Make the entry present; returns the message that reaches ``target``. The same one at each attach."""
        claim.target, claim.message = target, self.compose(claim)
        return claim.message

    def deactivate(self, claim: Claim) -> None:
        """Not present any more; the entry's number is kept."""
        claim.target = claim.message = None

    def release(self, claims: list[Claim]) -> None:
        """Give the entries back: from now on any function that shares the table may get these numbers."""
        for claim in claims:
            self.deactivate(claim)
            assert claim.number is not None
            self._table(claim.requester).give(claim.number)
            self._claims.pop((self._key(claim.requester), claim.number), None)

    def move(self, claim: Claim, cpu: int, *, settle: bool = True) -> Message:
        """A vector goes to another CPU: the entry is rewritten, the message is not."""
        assert claim.message is not None
        claim.cpu = cpu
        return claim.message

    def allocated(self, requester: int) -> bool:
        """Whether interrupts were ever allocated for the function."""
        return self._key(requester) in self._tables

    def entry(self, requester: int, number: int) -> Claim | None:
        """The claim of a present entry; None where there is none."""
        claim = self._claims.get((requester if self._per_function else -1, number))
        return claim if claim is not None and claim.target is not None else None

    def target(self, requester: int, number: int) -> Vector | None:
        """The vector that a present entry leads to; None where there is none."""
        claim = self.entry(requester, number)
        return None if claim is None else claim.target


def function_name(requester: int) -> str:
    """A requester id as bus, device and function."""
    return f"{requester >> 8:02x}:{requester >> 3 & 31:02x}.{requester & 7}"
