# SPDX-License-Identifier: Apache-2.0
"""The last accesses to a device and its last interrupts, kept in memory: what a failed test shows."""

from __future__ import annotations

import threading
import time
from collections import deque
from io import StringIO
from typing import TYPE_CHECKING, Any

from vfio_ims.tracing.attached import Attached
from vfio_ims.tracing.recorder import Describe, Messages, Recorder
from vfio_ims.tracing.words import in_words

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.tracing.format import Event

__all__ = ["LastEvents"]

_LEFT_OUT = frozenset({"thread", "window", "ask", "look", "mem"})
"""Kinds that are no accesses, or questions of the kit's own."""

_Access = tuple[str, int, int, int, int]  # kind, BAR, offset, width, value


class _Ring(Recorder):
    """Keeps the last ``size`` events. A single access costs a microsecond: its words are found when it is shown."""

    digests = False

    def __init__(self, size: int, describe: Describe, messages: Messages) -> None:
        super().__init__(StringIO(), describe=describe, messages=messages)
        self._kept: deque[list[Any]] = deque(maxlen=size)  # time, thread, how often, what

    def access(self, began: int, kind: str, region: int, offset: int, width: int, value: int) -> None:
        self._keep(began, (kind, region, offset, width, value))

    def _put(self, kind: str, content: Event, began: int, ended: int) -> None:
        if kind not in _LEFT_OUT:
            self._keep(began, {"k": kind} | content)

    def _keep(self, began: int, what: _Access | Event) -> None:
        if self.closed:
            return
        thread, kept = threading.current_thread(), self._kept
        try:
            last = kept[-1]
            if last[3] == what and last[1] is thread:
                last[2] += 1
                return
        except IndexError:  # the first, or another thread's were dropped meanwhile
            pass
        kept.append([began, thread, 1, what])

    def lines(self) -> list[str]:
        now, main = time.monotonic_ns(), threading.main_thread()
        found = []
        for began, thread, times, what in list(self._kept):
            event = dict(what) if isinstance(what, dict) else self._event(*what)
            who = "" if thread is main else f"  [{thread.name}]"
            more = {"times": times} if times > 1 else {}
            found.append(f"{(began - now) / 1e6:12.3f} ms  {in_words(event | more)}{who}")
        return found

    def _event(self, kind: str, region: int, offset: int, width: int, value: int) -> Event:
        event: Event = {"k": kind, "region": region, "offset": f"{offset:#x}", "width": width, "value": f"{value:#x}"}
        described = None if self._describe is None else self._describe(region, offset, width, value, kind == "w")
        return event | (described or {})


class LastEvents(Attached):
    """Keeps what is done with ``port``: the last ``size`` events, equal ones that follow each other as one."""

    def __init__(self, port: DevicePort, size: int) -> None:
        self._ring: _Ring | None = None

        def make(describe: Describe, messages: Messages) -> Recorder:
            self._ring = _Ring(size, describe, messages)
            return self._ring

        super().__init__(port, make)

    def lines(self) -> list[str]:
        """Words, oldest first, each with how long ago it began."""
        return [] if self._ring is None else self._ring.lines()
