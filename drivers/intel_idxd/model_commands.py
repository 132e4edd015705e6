# SPDX-License-Identifier: Apache-2.0
"""The command register of the modelled device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from vfio_ims.models import Worker
from vfio_ims.registers import RegisterValue

from .commands import Command, CommandError
from .registers import Bar0, Cause, State
from .tables import GroupConfig, QueueState

if TYPE_CHECKING:
    from .model import IdxdModel
    from .model_engines import Work

__all__ = ["Commands"]

_Answer = tuple[int, int]
_OF_QUEUES = (Command.DISABLE_QUEUE, Command.DRAIN_QUEUE, Command.ABORT_QUEUE, Command.RESET_QUEUE)
_OF_PASIDS = (Command.DRAIN_PASID, Command.ABORT_PASID)
_ABORTING = (Command.ABORT_ALL, Command.RESET_DEVICE, Command.ABORT_QUEUE, Command.RESET_QUEUE, Command.ABORT_PASID)
_STOPPING = (Command.DISABLE_DEVICE, Command.DISABLE_QUEUE, Command.RESET_DEVICE, Command.RESET_QUEUE)


def _numbers(mask: int) -> list[int]:
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


class Commands:
    """One command at a time; one written while another is active is ignored. [inferred]

    A command that waits for work in flight (all of it, or that of the queues or the PASID it names) ends when that is
    done, others before the next access. ``delay``: milliseconds that every command takes beyond that.
    """

    def __init__(self, model: IdxdModel, *, delay: int, hardware_error: int) -> None:
        self._model, self._delay, self._failing = model, delay, hardware_error
        self._count = 0
        self._clock = Worker(f"{model.name} commands")
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
            Command.REQUEST_HANDLE: (self._model.handles.request, False),
            Command.RELEASE_HANDLE: (self._model.handles.release, False),
        }

    def issue(self, value: RegisterValue) -> None:
        """CMD was written."""
        registers = self._model.registers()
        if registers.get(Bar0.CMDSTS).active:
            return
        command, operand = value.command, value.operand
        registers.set(Bar0.CMDSTS, active=1)
        action, waits = self._actions.get(command, (None, False))
        finish = partial(self._finish, action, command, operand, bool(value.interrupt))
        if action is not None and waits:
            concerns = self._concern(command, operand)
            self._begin(command, operand, concerns)
            engines = self._model.queues.engines
            finish = partial(engines.when_done, concerns, partial(self._unless_reset, finish, self._model.generation))
        if self._delay:
            self._clock.submit(partial(self._late, finish, self._model.generation))
        else:
            finish()

    def _late(self, finish: partial[None], generation: int) -> None:
        time.sleep(self._delay / 1000)
        with self._model.lock:
            self._unless_reset(finish, generation)

    def _unless_reset(self, finish: partial[None], generation: int) -> None:
        if generation == self._model.generation:
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
        queues = self._model.queues
        if command in _ABORTING:
            queues.engines.abort(concerns)
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
        elif action is None or not self._model.command_capabilities >> command & 1:
            answer = CommandError.COMMAND
        else:
            answer = action(operand)
        error, result = answer if isinstance(answer, tuple) else (answer, 0)
        self._model.registers().set(Bar0.CMDSTS, error=error, result=result)
        if interrupt:
            self._model.reporter.cause(Cause.COMMAND)

    # --- the device ---------------------------------------------------------------------------------------------------

    @property
    def _state(self) -> int:
        return self._model.registers().get(Bar0.GENSTS).state

    def _enable_device(self, operand: int) -> int:
        model = self._model
        if self._state != State.DISABLED:
            return CommandError.DEVICE_ENABLED
        if model.bus is None:
            return CommandError.BUS_MASTER
        entries = [model.queues.entry(queue) for queue in range(model.queues.count)]
        if sum(entry.size for entry in entries) > model.total_size:
            return CommandError.TOTAL_SIZE
        error = self._check_groups([bool(entry.size) for entry in entries])
        if not error:
            model.registers().set(Bar0.GENSTS, state=State.ENABLED)
            model.queues.engines.arrange(self._groups())
        return error

    def _groups(self) -> Iterator[tuple[list[int], list[int]]]:
        """Queues and engines of each group."""
        for row in self._model.group_rows:
            members, servers = row.get(GroupConfig.QUEUES0), row.get(GroupConfig.ENGINES)
            if members:
                yield _numbers(members), _numbers(servers)

    def _check_groups(self, sized: list[bool]) -> int:
        """accel-config's words for 0x15 to 0x18 tell what these mean."""
        model = self._model
        queues = engines = allowed = 0
        for row in model.group_rows:
            members, servers, flags = (
                row.get(GroupConfig.QUEUES0),
                row.get(GroupConfig.ENGINES),
                row.get(GroupConfig.FLAGS),
            )
            if bool(members) != bool(servers):
                return CommandError.GROUP_EMPTY
            if members & queues or members >> model.queues.count:
                return CommandError.GROUP_QUEUES
            if servers & engines or servers >> model.engines:
                return CommandError.GROUP_ENGINES
            queues, engines = queues | members, engines | servers
            if flags.read_buffers_reserved > flags.read_buffers_allowed:
                return CommandError.GROUP_READ_BUFFERS
            allowed += flags.read_buffers_reserved
        if any(has_size and not queues >> queue & 1 for queue, has_size in enumerate(sized)):
            return CommandError.GROUP_QUEUES
        if allowed > model.read_buffers:
            return CommandError.GROUP_READ_BUFFERS
        return CommandError.NONE if queues else CommandError.CONFIGURATION

    def _disable_device(self, operand: int) -> int:
        if self._state != State.ENABLED:
            return CommandError.NOT_ENABLED
        model = self._model
        for queue in range(model.queues.count):
            model.queues.stopped(queue, QueueState.DISABLED)
        model.registers().set(Bar0.GENSTS, state=State.DISABLED)
        return CommandError.NONE

    def _reset_device(self, operand: int) -> int:
        self._model.reset_device()
        return CommandError.NONE

    def _drain(self, operand: int) -> int:
        return CommandError.NONE if self._state == State.ENABLED else CommandError.QUEUE_NOT_ENABLED

    # --- queues -------------------------------------------------------------------------------------------------------

    def _named(self, operand: int) -> list[int]:
        """Bits 15:0 of the group of 16 queues in 19:16."""
        first = (operand >> 16 & 0xF) * 16
        return [first + bit for bit in range(16) if operand >> bit & 1 and first + bit < self._model.queues.count]

    def _enable_queue(self, queue: int) -> int:
        model = self._model
        if queue >= model.queues.count:
            return CommandError.QUEUE_INDEX
        if self._state != State.ENABLED:
            return CommandError.DEVICE_NOT_ENABLED
        entry = model.queues.entry(queue)
        mode, limits = entry.mode, entry.limits
        checks = (
            (entry.state != QueueState.DISABLED, CommandError.QUEUE_ENABLED),
            (not entry.size, CommandError.QUEUE_SIZE),
            (not mode.priority, CommandError.QUEUE_PRIORITY),
            (not mode.dedicated and not entry.threshold, CommandError.QUEUE_MODE),
            (mode.block_on_fault and not model.can_block, CommandError.BLOCK_ON_FAULT),
            (mode.pasid_enable and not model.pasid_enabled, CommandError.PASID_ENABLE),
            (not mode.dedicated and not mode.pasid_enable and not model.plain_shared, CommandError.PASID_ENABLE),
            (mode.privileged and not model.pasid_enabled, CommandError.PRIVILEGED),
            (limits.max_batch_shift > model.max_batch_shift, CommandError.MAX_BATCH),
            (limits.max_transfer_shift > model.max_transfer_shift, CommandError.MAX_TRANSFER),
        )
        for wrong, error in checks:
            if wrong:
                return error
        model.queues.enabled(queue)
        return CommandError.NONE

    def _check_queues(self, operand: int) -> int:
        if self._state != State.ENABLED:
            return CommandError.QUEUE_NOT_ENABLED
        queues = self._named(operand)
        if not queues or (operand >> 16 & 0xF and not queues):
            return CommandError.QUEUE_INDEX
        states = [self._model.queues.entry(queue).state for queue in queues]
        return CommandError.QUEUE_NOT_ENABLED if QueueState.DISABLED in states else CommandError.NONE

    def _drain_queues(self, operand: int) -> int:
        return self._check_queues(operand)

    def _disable_queues(self, operand: int) -> int:
        error = self._check_queues(operand)
        if not error:
            for queue in self._named(operand):
                self._model.queues.stopped(queue, QueueState.DISABLED)
        return error

    def _reset_queues(self, operand: int) -> int:
        """Back to disabled, the queue's own configuration cleared but for its size and threshold. [inferred]"""
        if self._state != State.ENABLED:
            return CommandError.QUEUE_NOT_ENABLED
        queues = self._named(operand)
        if not queues:
            return CommandError.QUEUE_INDEX
        for queue in queues:
            self._model.clear_queue(queue)
        return CommandError.NONE
