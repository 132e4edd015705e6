# SPDX-License-Identifier: Apache-2.0
"""What the driver asks of an engine's registers, whichever map they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..hardware.registers import State

if TYPE_CHECKING:
    from vfio_ims.ims import ImsTable
    from vfio_ims.registers import BoundRegister

__all__ = ["ChannelRegisters", "Engine", "write_pair"]


def write_pair(low: BoundRegister, high: BoundRegister, address: int) -> None:
    """Write a 64-bit address to its two registers, the low half first, as Linux does."""
    low.write(address & 0xFFFF_FFFF)
    high.write(address >> 32)


class ChannelRegisters(Protocol):
    """One channel. Not locked: its owner is the only one who uses them.

    ``interrupts_by_element``: the elements of a list say whether they interrupt; else the channel does when it stops.
    """

    @property
    def interrupts_by_element(self) -> bool: ...
    @property
    def label(self) -> str: ...

    def prepare(self) -> None:
        """Take work from now on: after ``Engine.start``."""
        ...

    def begin(self, address: int) -> None:
        """The next doorbell starts the list at ``address``, whose elements have the cycle bit set."""
        ...

    def move(self, source: int, target: int, size: int, *, interrupt: bool) -> None:
        """The next doorbell moves one block, without a list."""
        ...

    def ring(self) -> None:
        """Ring the doorbell."""
        ...

    def state(self) -> State: ...
    def wait(self, timeout: float) -> State:
        """Read the state in one compiled loop until it is STOPPED, at most ``timeout`` seconds."""
        ...

    def position(self) -> int:
        """The low 32 bits of the address of the element that is being worked on; of the next one, where it stopped."""
        ...

    def stop(self) -> None:
        """Ask it to stop where it is. It may take a moment: see ``state``."""
        ...

    def error(self) -> str:
        """Why it was aborted, in words."""
        ...


class Engine(Protocol):
    """All channels: write channels first, then read channels."""

    @property
    def channels(self) -> Sequence[ChannelRegisters]: ...

    def start(self) -> None:
        """Bring it up from any state: no channel runs, no cause of an interrupt is recorded."""
        ...

    def stop(self) -> None:
        """No channel runs, none will."""
        ...

    def take_causes(self) -> int:
        """Which channels have recorded a cause of an interrupt since this was last asked: a bit each. Clears them."""
        ...

    def on(self) -> bool:
        """Whether it is as ``start`` left it."""
        ...

    def table(self) -> ImsTable:
        """The messages, one a channel."""
        ...
