# SPDX-License-Identifier: Apache-2.0
"""A platform without interrupt remapping: messages name a CPU and one of its vectors, and the sender is not checked.

So a vector that moves to another CPU gets another message, and the old one reaches the present owner of that CPU vector
(Linux kernel/irq/msi.c msi_domain_set_affinity, arch/x86/kernel/apic/vector.c).
"""

from __future__ import annotations

import errno

from vfio_ims.counted import counted
from vfio_ims.messages import INTERRUPT_RANGE, Format, Message
from vfio_ims.platform.controller import Claim
from vfio_ims.platform.refusals import refusal
from vfio_ims.platform.vectors import Vector

__all__ = ["CpuVectors"]

_FIRST, _LAST = 0x21, 0xEB  # below are exceptions and the legacy interrupts, above the system's own vectors
_FORMAT = 1 << 4


class CpuVectors:
    """The vectors of ``cpus`` CPUs. The platform's lock serialises all calls."""

    text = "nothing remaps interrupts: messages name CPU vectors"
    format = Format.COMPATIBILITY
    isolates, moves = False, True
    window = INTERRUPT_RANGE
    with_pasid = "a write with PASID is no interrupt"

    def __init__(self, cpus: int = 4) -> None:
        self.cpus = cpus
        self._owner: dict[tuple[int, int], Claim] = {}
        self._leaving: dict[tuple[int, int], tuple[int, int]] = {}  # where a moved vector is, to where it still was

    def claim(self, requester: int, count: int = 1, *, contiguous: bool = False) -> list[Claim]:
        """Vectors are taken when they are attached. x86 has no multi-vector MSI without remapping."""
        if contiguous and count > 1:
            why = "without interrupt remapping x86 has one MSI vector a function"
            raise refusal(
                errno.ENOSPC, f"allocate {counted(count, 'interrupt')}", why=why, hint="ask for one, or use MSI-X"
            )
        return [Claim(requester) for _ in range(count)]

    def _take(self, claim: Claim, cpu: int) -> Message:
        for vector in range(_FIRST, _LAST + 1):
            if (cpu, vector) not in self._owner:
                self._owner[cpu, vector] = claim
                claim.cpu, claim.message = cpu, Message.compatibility(cpu, vector)
                return claim.message
        raise refusal(errno.ENOSPC, "allocate an interrupt", why=f"CPU {cpu} has no vector left", hint="use fewer")

    def _place(self, claim: Claim) -> tuple[int, int]:
        assert claim.message is not None
        return claim.cpu, claim.message.data & 0xFF

    def activate(self, claim: Claim, target: Vector) -> Message:
        """Take a vector on the CPU that has most left; returns its message: perhaps another one at each attach."""
        load = [0] * self.cpus
        for cpu, _ in self._owner:
            load[cpu] += 1
        message = self._take(claim, load.index(min(load)))
        claim.target = target
        return message

    def deactivate(self, claim: Claim) -> None:
        """Give the CPU vector back: the next who attaches may get it."""
        if claim.message is not None:
            self._settle(self._place(claim))
            del self._owner[self._place(claim)]
        claim.target = claim.message = None

    def release(self, claims: list[Claim]) -> None:
        for claim in claims:
            self.deactivate(claim)

    def _settle(self, place: tuple[int, int]) -> None:
        old = self._leaving.pop(place, None)
        if old is not None:
            self._owner.pop(old, None)

    def move(self, claim: Claim, cpu: int, *, settle: bool = True) -> Message:
        """Move a vector to ``cpu``; returns its new message.

        The old CPU vector lives on until a message reaches the new one; ``settle``: as if that had happened.
        """
        if not 0 <= cpu < self.cpus:
            raise refusal(errno.EINVAL, "move an interrupt", why=f"CPU must be 0 to {self.cpus - 1}, not {cpu!r}")
        assert claim.message is not None
        if cpu == claim.cpu:
            return claim.message
        old = self._place(claim)
        self._settle(old)
        message = self._take(claim, cpu)
        self._leaving[self._place(claim)] = old
        if settle:
            self._settle(self._place(claim))
        return message

    def resolve(self, requester: int, address: int, data: int) -> Vector | str:
        """The vector that a message reaches, or why it reaches none. The sender is not checked."""
        if address & _FORMAT:
            return "remappable format, but remapping is off"
        place = (address >> 12 & 0xFF, data & 0xFF)
        claim = self._owner.get(place)
        if claim is None or claim.target is None:
            return f"no irq handler for vector {place[0]}.{place[1]}"
        if place in self._leaving:
            self._settle(place)
        return claim.target
