# SPDX-License-Identifier: Apache-2.0
"""The ports of the model: what their registers say, decoded once, and what changes as elements come and go."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..hardware.places import QUEUES_PER_PORT
from ..hardware.ports import CqIsr
from .queues import History

if TYPE_CHECKING:
    from vfio_ims.models.register_file import View
    from vfio_ims.registers import Block

__all__ = ["LdbState", "PortState"]


class PortState:
    """A port with its consumer queue. ``stale``: a register of its was written, and is to be decoded again."""

    ldb = False

    def __init__(self, number: int, registers: View, block: type[Block], pointers: int) -> None:
        self.number, self.registers, self._at, self._pointers = number, registers, block.registers, pointers
        self.reset()

    def reset(self) -> None:
        """As after power-on."""
        self.stale = True
        self.tokens, self.depth, self.written, self.scheduled = 0, 0, 0, 0
        self.armed = False

    def field(self, name: str) -> int:
        """A register's value."""
        return int(self.registers.get(self._at[name]))

    def show(self, name: str, value: int) -> None:
        self.registers.set(self._at[name], value)

    def decode(self) -> None:
        """Take what the registers say."""
        field = self.field
        self.valid, self.domain = bool(field("PP_V") & 1), field("PP2VAS") & 0x1F
        self.enabled = not field("CQ_DSBL") & 1
        self.address = field("CQ_ADDR_U") << 32 | field("CQ_ADDR_L") & ~0x3F
        self.entries = 4 << (field("CQ_TKN_DEPTH_SEL") & 0xF)
        self.limit = 4 << (field("LSP_TKN_DEPTH_SEL") & 0xF)
        self.threshold, self.by_depth = field("CQ_INT_DEPTH_THRSH"), bool(field("CQ_INT_ENB") & 2)
        self.by_timer, self.timer = bool(field("CQ_INT_ENB") & 1), field("CQ_TMR_THRSH")
        isr = field("CQ_ISR")
        self.vector, self.mode = isr & 0x3FF, CqIsr(isr >> 10 & 3)
        self.stale = False

    def written_to(self, name: str, value: int) -> None:
        """The driver wrote ``value`` to register ``name``."""
        self.stale = True
        if name == "CQ_TKN_CNT":
            self.tokens, self.depth = value & self._pointers, 0
        elif name == "CQ_WPTR":
            self.written = value & self._pointers
        elif name in ("CQ_TOT_SCH_CNTL", "CQ_TOT_SCH_CNTH"):
            self.scheduled = 0

    def publish(self) -> None:
        """Bring the registers that change by themselves up to date."""
        self.show("CQ_TKN_CNT", self.tokens)
        self.show("CQ_WPTR", self.written)
        self.show("CQ_DEPTH", self.depth)
        self.show("CQ_TOT_SCH_CNTL", self.scheduled & 0xFFFF_FFFF)
        self.show("CQ_TOT_SCH_CNTH", self.scheduled >> 32)

    @property
    def has_room(self) -> bool:
        """Whether one more element may be scheduled to it."""
        return self.enabled and self.tokens < self.limit

    def place(self) -> tuple[int, int]:
        """Where the next entry goes, and its generation: 1 on the first lap. The write pointer moves on."""
        index, lap = self.written % self.entries, self.written // self.entries
        self.written = self.written + 1 & self._pointers
        self.tokens += 1
        self.depth += 1
        self.scheduled += 1
        return index, ~lap & 1

    def pop(self, count: int) -> bool:
        """Take ``count`` tokens back; False, and nothing happens, where there are not so many."""
        if count > self.tokens:
            return False
        self.tokens -= count
        self.depth = max(0, self.depth - count)
        return True


class LdbState(PortState):
    """A load-balanced port. ``history``: what was scheduled to it and not completed, in order."""

    ldb = True

    def __init__(self, number: int, registers: View, block: type[Block]) -> None:
        super().__init__(number, registers, block, 0x7FF)

    def reset(self) -> None:
        super().reset()
        self.history: deque[History] = deque()
        self._push = self._pop = 0  # entries of the history list, from its base on
        self._turn = 0

    def decode(self) -> None:
        super().decode()
        field = self.field
        self.under_way_limit = field("CQ_INFL_LIM") & 0xFFF
        self._base, self._last = field("HIST_LIST_BASE") & 0x1FFF, field("HIST_LIST_LIM") & 0x1FFF
        priorities, queues = field("CQ2PRIOV"), field("CQ2QID1") << 32 | field("CQ2QID0")
        self.slots = [
            (priorities >> 3 * slot & 7, slot, queues >> 8 * slot & 0x7F)
            for slot in range(QUEUES_PER_PORT)
            if priorities >> 24 + slot & 1
        ]
        """Priority, slot and queue of each slot that is in use."""

    def written_to(self, name: str, value: int) -> None:
        super().written_to(name, value)
        if name in ("HIST_LIST_PUSH_PTR", "HIST_LIST_POP_PTR"):
            self._push = self._pop = 0

    def publish(self) -> None:
        super().publish()
        self.show("CQ_INFL_CNT", len(self.history))
        if self.stale:
            self.decode()
        size = max(1, self._last - self._base + 1)
        for name, count in (("HIST_LIST_PUSH_PTR", self._push), ("HIST_LIST_POP_PTR", self._pop)):
            self.show(name, self._base + count % size | (count // size & 1) << 13)

    @property
    def has_room(self) -> bool:
        held = len(self.history)
        return super().has_room and held < self.under_way_limit and held <= self._last - self._base

    def turn(self) -> list[tuple[int, int]]:
        """Slot and queue of each, in the order in which they are served now: by priority, equals in turns."""
        ordered = sorted(self.slots, key=lambda one: (one[0], (one[1] - self._turn) % QUEUES_PER_PORT))
        return [(slot, queue) for _, slot, queue in ordered]

    def push(self, slot: int, history: History) -> None:
        """An element of queue slot ``slot`` was scheduled to it."""
        self.history.append(history)
        self._push += 1
        self._turn = slot + 1

    def complete(self) -> History | None:
        """The oldest that was scheduled is done; None: there is none."""
        if not self.history:
            return None
        self._pop += 1
        return self.history.popleft()
