# SPDX-License-Identifier: Apache-2.0
"""What a channel's work asks of its registers, in whichever map, and why it may give up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ..hardware.elements import Element
from ..hardware.registers import State

__all__ = ["Abort", "Knobs", "Registers"]


class Abort(Enum):
    """Why a channel gave up."""

    APPLICATION = "the device's own memory did not answer"
    FETCH = "an element could not be fetched"
    UNSUPPORTED = "the host did not answer a read"
    INJECTED = "asked for by an option"


@dataclass(slots=True)
class Knobs:
    """What a test may want. ``pace``: seconds an element takes. ``abort_at``: which element aborts, from 1."""

    pace: float = 0.0
    abort_at: int = 0
    ignores_cycle: bool = False
    checks_links: bool = False


class Registers(Protocol):
    """One channel's registers, as its map has them. Every call is made with the model's lock held."""

    def list_mode(self) -> bool: ...
    def block(self) -> Element: ...
    def pointer(self) -> int: ...
    def set_pointer(self, address: int) -> None: ...
    def cycle(self) -> bool: ...
    def set_cycle(self, cycle: bool) -> None: ...
    def set_state(self, state: State) -> None: ...
    def done(self, control: int, *, stopped: bool) -> None:
        """An element with ``control`` was consumed and asked for it, or (``stopped``) the list has ended."""
        ...

    def aborted(self, control: int, why: Abort) -> None: ...
