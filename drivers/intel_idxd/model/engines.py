# SPDX-License-Identifier: Apache-2.0
"""The modelled engines: which of a group's engines does what when, and what waits for which work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from vfio_ims.models import Worker

from ..hardware.descriptors import Descriptor, DsaOpcode
from .executor import Executor
from .memory import Defer
from .occupancy import Occupancy
from .state import ModelState
from .work import Work

__all__ = ["Engines"]

_AT_ONCE = (DsaOpcode.NOP, DsaOpcode.DRAIN)
_MEMORY_OPERATIONS = (DsaOpcode.MEMMOVE, DsaOpcode.FILL)


@dataclass(slots=True, eq=False)
class _Group:
    """``idle``: engines with nothing to do; work waits only while there are none."""

    idle: list[Worker]
    waiting: deque[Work] = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class _Barrier:
    """``action`` runs once none of ``before`` is left."""

    before: set[int]
    action: Callable[[], None]


class Engines:
    """Work of a group starts in the order of submission, on whichever of the group's engines is free.

    So a group with one engine works strictly in order, one with several may complete out of order, and groups do not
    wait for each other. Short work whose engine is free runs in the accessing thread, after the access. A drain waits
    for what its queue accepted before it. Called with the state's lock held.
    """

    def __init__(self, state: ModelState, occupancy: Occupancy, executor: Executor) -> None:
        self._state, self._occupancy, self._executor = state, occupancy, executor
        self._workers: dict[int, Worker] = {}
        self._groups: dict[int, _Group] = {}
        self._numbers = count()
        self._under_way: dict[int, Work] = {}
        self._barriers: list[_Barrier] = []

    def arrange(self, groups: Iterable[tuple[list[int], list[int]]]) -> None:
        """The device was enabled: queues and engines of each group."""
        self._groups = {}
        for queues, engines in groups:
            group = _Group([self._worker(engine) for engine in engines])
            self._groups |= dict.fromkeys(queues, group)

    def _worker(self, engine: int) -> Worker:
        if engine not in self._workers:
            self._workers[engine] = Worker(f"{self._state.name} engine {engine}")
        return self._workers[engine]

    def take(self, work: Work) -> None:
        """Work was accepted."""
        group, index = self._groups[work.queue.index], work.queue.index
        descriptor = work.descriptor
        if descriptor.opcode == DsaOpcode.DRAIN:
            before = {number for number, other in self._under_way.items() if other.queue.index == index}
            if before:
                self._enter(work)
                self._barriers.append(_Barrier(before, partial(self._execute, work)))
                return
        elif not group.idle:
            self._enter(work)
            group.waiting.append(work)
            return
        if self._short(descriptor):
            try:
                self._executor.run(work, descriptor, None, quick=True)
                return
            except Defer:
                pass  # a worker can wait for memory that is reached by message
        self._enter(work)
        if group.idle:
            engine = group.idle.pop()
            engine.submit(partial(self._run, engine, group, work))
        else:
            group.waiting.append(work)

    def _short(self, descriptor: Descriptor) -> bool:
        characteristics = self._state.characteristics
        if descriptor.opcode in _AT_ONCE or not characteristics.operations >> descriptor.opcode & 1:
            return True
        return descriptor.opcode in _MEMORY_OPERATIONS and descriptor.size <= characteristics.inline_bytes

    def _enter(self, work: Work) -> None:
        work.number = next(self._numbers)
        self._under_way[work.number] = work
        self._state.backlog[work.queue.index] += 1

    def _run(self, engine: Worker, group: _Group, work: Work | None) -> None:
        """In an engine's thread, without the lock: this work, and what waits when it is done."""
        while work is not None:
            try:
                self._execute(work)
            finally:
                with self._state.lock:
                    work = group.waiting.popleft() if group.waiting else None
                    if work is None:
                        group.idle.append(engine)

    def _execute(self, work: Work) -> None:
        state = self._state
        with state.lock:
            work.begun = not work.dropped
            if work.begun:
                state.backlog[work.queue.index] -= 1
                self._occupancy.fell(work.queue.index)
        try:
            if work.begun:
                self._executor.run(work, work.descriptor, None)
        finally:
            with state.lock:
                self._finished(work)

    def _finished(self, work: Work) -> None:
        del self._under_way[work.number]
        ready = []
        for barrier in self._barriers:
            barrier.before.discard(work.number)
            if not barrier.before:
                ready.append(barrier)
        for barrier in ready:
            self._barriers.remove(barrier)
        for barrier in ready:
            barrier.action()

    @property
    def busy(self) -> bool:
        """Whether any work is accepted and not done."""
        return bool(self._under_way)

    # --- what commands need -------------------------------------------------------------------------------------------

    def when_done(self, concerns: Callable[[Work], bool], action: Callable[[], None]) -> None:
        """Run ``action`` once all work accepted so far that it ``concerns`` is done: at once if that is now."""
        before = {number for number, work in self._under_way.items() if concerns(work)}
        if before:
            self._barriers.append(_Barrier(before, action))
        else:
            action()

    def abort(self, concerns: Callable[[Work], bool]) -> None:
        """Drop work that was accepted and not begun: no completion, no interrupt. [inferred] A batch stops."""
        for work in self._under_way.values():
            if concerns(work) and not work.dropped:
                work.dropped = True
                self._state.backlog[work.queue.index] -= not work.begun
        for group in self._groups.values():
            for work in [work for work in group.waiting if work.dropped]:
                group.waiting.remove(work)
                self._finished(work)

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close(wait=False)
