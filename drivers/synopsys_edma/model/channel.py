# SPDX-License-Identifier: Apache-2.0
"""One channel at work: follows its list element by element, or moves one block, and says how it ended.

The order of a list: an element is consumed while its cycle bit equals the channel's. A link is followed whatever its
bit, and flips the channel's where it says so: only then does Linux' scheme work, in which a link always has the other
cycle. [inferred: the databook is not public]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.models import Worker

from ..hardware.elements import CYCLE, ELEMENT, ELEMENT_SIZE, LINK, TOGGLE, Element
from ..hardware.registers import State
from .channel_registers import Abort, Knobs, Registers
from .memory import DeviceFault, EngineMemory, HostFault

if TYPE_CHECKING:
    import threading

__all__ = ["ChannelModel"]

_BURST = 64  # elements, and ...
_BYTES = 1 << 20  # ... bytes that are moved while the model's lock is held
_LINKS = 64  # in a row, without data between them: a list that goes round in circles is an error


class ChannelModel:
    """``lock`` is the model's. The work is done in a thread of the channel's own, a burst of elements at a time."""

    def __init__(
        self, name: str, registers: Registers, memory: EngineMemory, lock: threading.RLock, knobs: Knobs, *, write: bool
    ) -> None:
        self.registers, self._memory, self._lock, self._knobs = registers, memory, lock, knobs
        self._write = write
        self._worker = Worker(name)
        self.running = False
        self._turn = 0  # counts starts and stops: what a worker began before is dropped
        self._seen = 0
        self._links = 0
        self._last = 0  # the control word of the element consumed last

    # --- what the driver asks for: the lock is held -------------------------------------------------------------------

    def start(self) -> None:
        """The doorbell. Of a channel that runs already it means nothing."""
        if self.running:
            return
        self.running, self._turn, self._last = True, self._turn + 1, 0
        self.registers.set_state(State.RUNNING)
        turn = self._turn
        self._worker.submit(lambda: self._run(turn))

    def stop(self, state: State) -> None:
        """Work under way ends after its element, unseen."""
        if self.running:
            self.running, self._turn = False, self._turn + 1
            self.registers.set_state(state)

    def reset(self) -> None:
        """As after power-on: the registers are reset by the model."""
        self.running, self._turn, self._seen, self._last = False, self._turn + 1, 0, 0

    def close(self) -> None:
        self._turn += 1
        self._worker.close(wait=False)

    # --- in the channel's thread --------------------------------------------------------------------------------------

    def _run(self, turn: int) -> None:
        step: Callable[[int], int] = self._element
        more = True
        while more:
            with self._lock:
                if turn != self._turn:
                    return
                if not self.registers.list_mode():
                    step = self._block
                moved = 0
                for _ in range(1 if self._knobs.pace else _BURST):
                    size = step(turn)
                    more = size >= 0 and turn == self._turn
                    moved += size
                    if not more or moved > _BYTES:
                        break
            if more:
                time.sleep(self._knobs.pace)

    def _block(self, turn: int) -> int:
        """The one block that the registers describe."""
        block = self.registers.block()
        if self._move(block, turn) and turn == self._turn:
            self._last = block.control
            self._end()
        return -1

    def _element(self, turn: int) -> int:
        """One element of the list: bytes moved, or -1 where the channel has stopped."""
        registers, at = self.registers, self.registers.pointer()
        try:
            element = Element(*ELEMENT.unpack(self._memory.read(at, ELEMENT_SIZE)))
        except (DeviceFault, HostFault):
            self._abort(0, Abort.FETCH)
            return -1
        if turn != self._turn:  # stopped while it was read
            return -1
        matches = bool(element.control & CYCLE) == registers.cycle() or self._knobs.ignores_cycle
        if element.control & LINK:
            return self._follow(element, matches)
        if not matches:
            self._end()
            return -1
        self._links = 0
        if not self._move(element, turn) or turn != self._turn:
            return -1
        registers.set_pointer(at + ELEMENT_SIZE)
        self._last = element.control
        following = self._peek(at + ELEMENT_SIZE)
        if following:  # the last one's interrupt is raised when the channel has stopped, so that its state is seen
            registers.done(element.control, stopped=False)
            self._last = 0
        return element.size

    def _follow(self, element: Element, matches: bool) -> int:
        self._links += 1
        if self._links > _LINKS:
            self._abort(element.control, Abort.FETCH)
            return -1
        if self._knobs.checks_links and not matches:
            self._end()
            return -1
        if element.control & TOGGLE:
            self.registers.set_cycle(not self.registers.cycle())
        self.registers.set_pointer(element.source)
        return 0

    def _peek(self, at: int) -> bool:
        """Whether the list goes on after the element before ``at``."""
        cycle = self.registers.cycle()
        for _ in range(_LINKS):
            try:
                element = Element(*ELEMENT.unpack(self._memory.read(at, ELEMENT_SIZE)))
            except (DeviceFault, HostFault):
                return True
            if not element.control & LINK:
                return bool(element.control & CYCLE) == cycle or self._knobs.ignores_cycle
            cycle ^= bool(element.control & TOGGLE)
            at = element.source
        return True

    def _move(self, element: Element, turn: int) -> bool:
        """Copy an element's bytes, a piece at a time; False where that ended in an abort."""
        self._seen += 1
        if self._seen == self._knobs.abort_at:
            self._abort(element.control, Abort.INJECTED)
            return False
        inside = element.source if self._write else element.target
        try:
            if not self._memory.is_own(inside):
                raise DeviceFault
            for at in range(0, element.size, _BYTES):
                data = self._memory.read(element.source + at, min(_BYTES, element.size - at))
                if turn != self._turn:
                    return False
                self._memory.write(element.target + at, data)
        except DeviceFault:
            self._abort(element.control, Abort.APPLICATION)
            return False
        except HostFault:
            self._abort(element.control, Abort.UNSUPPORTED)
            return False
        return True

    def _end(self) -> None:
        self.running, self._links = False, 0
        last, self._last = self._last, 0
        self.registers.set_state(State.STOPPED)
        self.registers.done(last, stopped=True)

    def _abort(self, control: int, why: Abort) -> None:
        self.running, self._links = False, 0
        self.registers.set_state(State.HALTED)
        self.registers.aborted(control, why)
