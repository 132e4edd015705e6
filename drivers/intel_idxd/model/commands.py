# SPDX-License-Identifier: Apache-2.0
"""The command register of the modelled device."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from vfio_ims.models import Worker
from vfio_ims.registers import RegisterValue

from ..hardware.commands import Command, CommandError
from ..hardware.registers import Bar0, Cause, State
from ..hardware.tables import QueueState
from .engines import Engines
from .groups import check_groups, members
from .interrupt_handles import InterruptHandles
from .reporter import Reporter
from .state import ModelState
from .work import Work
from .work_queues import WorkQueues

__all__ = ["Commands"]

_CMDSTS = Bar0.CMDSTS
_ACTIVE = _CMDSTS.fields["active"].mask
_COMMAND, _OPERAND, _INTERRUPT = (Bar0.CMD.fields[name] for name in ("command", "operand", "interrupt"))
_Answer = tuple[int, int]
_OF_QUEUES = (Command.DISABLE_QUEUE, Command.DRAIN_QUEUE, Command.ABORT_QUEUE, Command.RESET_QUEUE)
_OF_PASIDS = (Command.DRAIN_PASID, Command.ABORT_PASID)
_ABORTING = (Command.ABORT_ALL, Command.RESET_DEVICE, Command.ABORT_QUEUE, Command.RESET_QUEUE, Command.ABORT_PASID)
_STOPPING = (Command.DISABLE_DEVICE, Command.DISABLE_QUEUE, Command.RESET_DEVICE, Command.RESET_QUEUE)


class Commands:
    """Executes one command at a time; one written while another is active is ignored (inferred).

    A command that waits for work in flight (all of it, or that of the queues or the PASID it names) ends when that is
    done, others before the next access. ``delay``: milliseconds that every command takes beyond that.
    """

    def __init__(
        self,
        state: ModelState,
        queues: WorkQueues,
        engines: Engines,
        handles: InterruptHandles,
        reporter: Reporter,
        reset_device: Callable[[], None],
        *,
        delay: int,
        hardware_error: int,
    ) -> None:
        self._state, self._queues, self._engines, self._reporter = state, queues, engines, reporter
        self.reset_device, self._delay, self._failing = reset_device, delay, hardware_error
        self._count = 0
        self._clock = Worker(f"{state.name} commands")
        self._actions: dict[int, tuple[Callable[[int], _Answer | int], bool]] = {
            Command.ENABLE_DEVICE: (self._enable_device, False),
            Command.DISABLE_DEVICE: (self._disable_device, True),
            Command.DRAIN_ALL: (self._drain, True),
            Command.ABORT_ALL: (self._drain, True),
            Command.RESET_DEVICE: (self._reset_device, True),
            Command.ENABLE_QUEUE: (self._enable_queue, False),
            Command.DISABLE_QUEUE: (self._disable_queues, True),
            Command.DRAIN_QUEUE: (self._drain_queues, True),
            Command.ABORT_QUEUE: (self._drain_queues, True),
            Command.RESET_QUEUE: (self._reset_queues, True),
            Command.DRAIN_PASID: (self._drain, True),
            Command.ABORT_PASID: (self._drain, True),
            Command.REQUEST_HANDLE: (handles.request, False),
            Command.RELEASE_HANDLE: (handles.release, False),
        }

    def issue(self, value: RegisterValue) -> None:
        """CMD was written."""
        registers = self._state.registers
        if registers.get(_CMDSTS) & _ACTIVE:
            return
        command, operand = _COMMAND.get(value), _OPERAND.get(value)
        registers.set(_CMDSTS, _ACTIVE)
        action, waits = self._actions.get(command, (None, False))
        finish = partial(self._finish, action, command, operand, bool(_INTERRUPT.get(value)))
        if action is not None and waits and (command in _STOPPING or self._engines.busy or self._delay):
            concerns = self._concern(command, operand)
            self._begin(command, operand, concerns)
            late = partial(self._unless_reset, finish, self._state.generation)
            finish = partial(self._engines.when_done, concerns, late)
        if self._delay:
            self._clock.submit(partial(self._late, finish, self._state.generation))
        else:
            finish()

    def _late(self, finish: partial[None], generation: int) -> None:
        time.sleep(self._delay / 1000)
        with self._state.lock:
            self._unless_reset(finish, generation)

    def _unless_reset(self, finish: partial[None], generation: int) -> None:
        if generation == self._state.generation:
            finish()

    def close(self) -> None:
        self._clock.close(wait=False)

    def _concern(self, command: int, operand: int) -> Callable[[Work], bool]:
        """Which work the command waits for, or drops."""
        if command in _OF_PASIDS:
            return lambda work: work.pasid == operand
        if command in _OF_QUEUES:
            queues = set(self._named(operand))
            return lambda work: work.queue.index in queues
        return lambda work: True

    def _begin(self, command: int, operand: int, concerns: Callable[[Work], bool]) -> None:
        """What happens at once, before work in flight is waited for: queues that stop accept nothing more."""
        queues = self._queues
        if command in _ABORTING:
            self._engines.abort(concerns)
        if command in _STOPPING:
            for queue in self._named(operand) if command in _OF_QUEUES else range(queues.count):
                if queues.live[queue] is not None:
                    queues.stopped(queue, QueueState.BUSY)

    def _finish(
        self, action: Callable[[int], _Answer | int] | None, command: int, operand: int, interrupt: bool
    ) -> None:
        self._count += 1
        answer: _Answer | int
        if self._count == self._failing:
            answer = CommandError.HARDWARE
        elif action is None or not self._state.characteristics.command_capabilities >> command & 1:
            answer = CommandError.COMMAND
        else:
            answer = action(operand)
        error, result = answer if isinstance(answer, tuple) else (answer, 0)
        if error or result:
            self._state.registers.set(_CMDSTS, error=error, result=result)
        else:
            self._state.registers.set(_CMDSTS, 0)
        if interrupt:
            self._reporter.cause(Cause.COMMAND)

    # --- the device ---------------------------------------------------------------------------------------------------

    def _enable_device(self, operand: int) -> int:
        state, this = self._state, self._state.characteristics
        if state.device_state != State.DISABLED:
            return CommandError.DEVICE_ENABLED
        if state.bus() is None:
            return CommandError.BUS_MASTER
        sizes = [self._queues.entry(queue).size for queue in range(self._queues.count)]
        if sum(sizes) > this.total_size:
            return CommandError.TOTAL_SIZE
        error = check_groups(state.groups, [bool(size) for size in sizes], this.engines, this.read_buffers)
        if not error:
            state.registers.set(Bar0.GENSTS, state=State.ENABLED)
            self._engines.arrange(members(state.groups))
        return error

    def _disable_device(self, operand: int) -> int:
        if not self._state.enabled:
            return CommandError.NOT_ENABLED
        for queue in range(self._queues.count):
            self._queues.stopped(queue, QueueState.DISABLED)
        self._state.registers.set(Bar0.GENSTS, state=State.DISABLED)
        return CommandError.NONE

    def _reset_device(self, operand: int) -> int:
        self.reset_device()
        return CommandError.NONE

    def _drain(self, operand: int) -> int:
        return CommandError.NONE if self._state.enabled else CommandError.QUEUE_NOT_ENABLED

    # --- queues -------------------------------------------------------------------------------------------------------

    def _named(self, operand: int) -> list[int]:
        """Bits 15:0 of the group of 16 queues in 19:16."""
        first = (operand >> 16 & 0xF) * 16
        return [first + bit for bit in range(16) if operand >> bit & 1 and first + bit < self._queues.count]

    def _enable_queue(self, queue: int) -> int:
        this = self._state.characteristics
        if queue >= self._queues.count:
            return CommandError.QUEUE_INDEX
        if not self._state.enabled:
            return CommandError.DEVICE_NOT_ENABLED
        entry = self._queues.entry(queue)
        mode, limits = entry.mode, entry.limits
        checks = (
            (entry.state != QueueState.DISABLED, CommandError.QUEUE_ENABLED),
            (not entry.size, CommandError.QUEUE_SIZE),
            (not mode.priority, CommandError.QUEUE_PRIORITY),
            (not mode.dedicated and not entry.threshold, CommandError.QUEUE_MODE),
            (mode.block_on_fault and not this.general.block_on_fault, CommandError.BLOCK_ON_FAULT),
            (mode.pasid_enable and not this.pasid_enabled, CommandError.PASID_ENABLE),
            (mode.privileged and not this.pasid_enabled, CommandError.PRIVILEGED),
            (limits.max_batch_shift > this.general.max_batch_shift, CommandError.MAX_BATCH),
            (limits.max_transfer_shift > this.general.max_transfer_shift, CommandError.MAX_TRANSFER),
        )
        for wrong, error in checks:
            if wrong:
                return error
        self._queues.enabled(queue)
        return CommandError.NONE

    def _check_queues(self, operand: int) -> int:
        if not self._state.enabled:
            return CommandError.QUEUE_NOT_ENABLED
        queues = self._named(operand)
        if not queues or (operand >> 16 & 0xF and not queues):
            return CommandError.QUEUE_INDEX
        states = [self._queues.entry(queue).state for queue in queues]
        return CommandError.QUEUE_NOT_ENABLED if QueueState.DISABLED in states else CommandError.NONE

    def _drain_queues(self, operand: int) -> int:
        return self._check_queues(operand)

    def _disable_queues(self, operand: int) -> int:
        error = self._check_queues(operand)
        if not error:
            for queue in self._named(operand):
                self._queues.stopped(queue, QueueState.DISABLED)
        return error

    def _reset_queues(self, operand: int) -> int:
        """Back to disabled, the queue's own configuration cleared but for its size and threshold (inferred)."""
        if not self._state.enabled:
            return CommandError.QUEUE_NOT_ENABLED
        queues = self._named(operand)
        if not queues:
            return CommandError.QUEUE_INDEX
        for queue in queues:
            self._queues.clear(queue)
        return CommandError.NONE
