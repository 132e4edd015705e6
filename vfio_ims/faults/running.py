# SPDX-License-Identifier: Apache-2.0
"""The faults injected into one device: which are due at an occasion, and the record of what each did."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import local

from vfio_ims.clock import Clock
from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.faults.fault import Fault
from vfio_ims.faults.kinds import KINDS
from vfio_ims.faults.moment import Occasion, Waiting
from vfio_ims.locks import make_lock

__all__ = ["FaultWarning", "Faults", "Happened"]

_log = logging.getLogger("vfio_ims.faults")


class FaultWarning(RuntimeWarning):
    """A fault was asked for and never happened: what was to be shown was not."""


@dataclass(frozen=True)
class Happened:
    """One fault that happened: which, to which device, what it did, and after how many seconds."""

    fault: Fault
    device: str
    what: str
    time: float

    def __str__(self) -> str:
        return f"{self.device}: {self.what} (fault {self.fault}, {self.time:.3f} s after it was injected)"


class Faults:
    """Faults that are injected into a device. ``happened`` has what they did, oldest first; ``unused`` the others.

    ``calls`` counts what was asked of the device and of the kernel, accesses to registers included; ``verbs`` by verb.
    """

    def __init__(self, device: str, faults: Iterable[Fault], clock: Clock) -> None:
        self.device, self.clock = device, clock
        self.faults = tuple(faults)
        self.happened: list[Happened] = []
        self.calls = 0
        self.verbs: Counter[str] = Counter()
        self.lost = False
        self._began = clock.now()
        self._lock, self._within = make_lock(), local()
        self._waiting = [(fault, KINDS[fault.kind].edge, Waiting(fault.moment, self._began)) for fault in self.faults]

    def name_registers(self, named: Callable[[str], str]) -> None:
        """Let moments wait for registers by the names that accesses have. UsageError where one is not there."""
        for _, _, waiting in self._waiting:
            waiting.name_register(named)

    def __iter__(self) -> Iterator[Happened]:
        return iter(tuple(self.happened))

    def __str__(self) -> str:
        lines = [str(one) for one in self] + [f"{self.device}: never happened: {fault}" for fault in self.unused]
        return "\n".join(lines) or f"{self.device}: no faults"

    @property
    def unused(self) -> list[Fault]:
        """The faults that have not happened."""
        seen = {id(one.fault) for one in self.happened}
        return [fault for fault in self.faults if id(fault) not in seen]

    def check(self) -> None:
        """UsageError where a fault has not happened: a test that needed it shows nothing."""
        if self.unused:
            raise UsageError("inject faults", device=self.device, why=self.words_of_unused)

    @property
    def words_of_unused(self) -> str:
        """What never happened, and what there was to meet it."""
        found = ", ".join(map(str, self.unused))
        return f"{found} never happened, in {counted(self.calls, 'call')} of kernel and device"

    # --- what stands before a device asks -----------------------------------------------------------------------------

    @property
    def within(self) -> bool:
        """Whether this thread is inside a covered call, or an event of ours: what it asks further is no user's."""
        return bool(getattr(self._within, "depth", 0))

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in a covered call."""
        self._within.depth = getattr(self._within, "depth", 0) + 1
        try:
            yield
        finally:
            self._within.depth -= 1

    def due(self, edges: tuple[str, ...], occasion: Occasion) -> list[Fault]:
        """The faults of these edges that happen at this occasion. ``fail`` and the like wait for their own verb."""
        now = self.clock.now()
        found = []
        with self._lock:
            for fault, edge, waiting in self._waiting:
                if edge not in edges or not _fits(fault, occasion):
                    continue
                if waiting.comes(occasion, now):
                    found.append(fault)
        return found

    def due_one(self, fault: Fault, occasion: Occasion) -> bool:
        """Whether this fault happens at this occasion."""
        with self._lock:
            waiting = next(waiting for one, _, waiting in self._waiting if one is fault)
            return waiting.comes(occasion, self.clock.now())

    def record(self, fault: Fault, what: str) -> None:
        """A fault did something."""
        one = Happened(fault, self.device, what, self.clock.now() - self._began)
        self.happened.append(one)
        _log.info("%s", one)


def _fits(fault: Fault, occasion: Occasion) -> bool:
    """Whether the occasion is one that the fault could happen at."""
    if fault.kind == "fail":
        return fault.target in ("any", occasion.verb)
    if fault.kind == "short":
        return occasion.verb == "read_region"
    if fault.kind == "delay":
        return occasion.write
    return True
