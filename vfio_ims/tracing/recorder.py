# SPDX-License-Identifier: Apache-2.0
"""Writes events: with thread and time, repeated ones folded, and what devices changed in memory between them."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import IO, Any

from vfio_ims.locks import make_rlock
from vfio_ims.tracing.format import Event, encode
from vfio_ims.tracing.memory import Buffers
from vfio_ims.tracing.values import error_to

__all__ = ["Describe", "Messages", "Recorder"]

_FOLDED = frozenset({"r", "ask", "look"})
Describe = Callable[[int, int, int, int, bool], "Event | None"]
Messages = Callable[[int, "list[list[int]]"], "dict[int, str]"]


class Recorder:
    """One recording. ``contents``: memory that devices may reach is recorded too, which a replay needs.

    Without it the file is small and holds no data of anybody's but what goes through registers and portals. Safe from
    several threads; what a call changed is written when it ends.
    """

    digests = True
    """Whether what is unmapped is to be named by the hash of its content, where that is not recorded."""

    def __init__(
        self,
        file: IO[str],
        *,
        contents: bool = False,
        describe: Describe | None = None,
        messages: Messages | None = None,
    ) -> None:
        self._file, self.contents, self._describe, self._messages = file, contents, describe, messages
        self._lock = make_rlock()
        self._began = time.monotonic_ns()
        self._threads: dict[threading.Thread, int] = {}  # not by ident: the next thread gets that of one that ended
        self._pending: Event | None = None  # the last event: equal ones that follow at once are counted in it
        self.buffers: dict[int, Buffers] = {}
        self.numbers = count()
        self.vectors: dict[int, tuple[int, int]] = {}
        """Event descriptors by number: kind and number of the vector."""
        self.events = 0
        self.closed = False
        _RECORDERS.add(self)

    # --- calls ----------------------------------------------------------------------------------------------------

    def begin(self) -> int:
        """A call begins: note what has changed in memory up to here. Returns its time."""
        if self.contents:
            self.note_memory("start")
        return time.monotonic_ns()

    def end(self, began: int, kind: str, **content: Any) -> None:
        """It ended: write it."""
        self._put(kind, content, began, time.monotonic_ns())
        if self.contents:
            self.note_memory("end")

    def failed(self, began: int, error: BaseException, kind: str, **content: Any) -> None:
        """It raised: write it with the error."""
        self.end(began, kind, **content, err=error_to(error))

    def access(self, began: int, kind: str, region: int, offset: int, width: int, value: int) -> None:
        """A single register access, with its register's name and fields."""
        event: Event = {"region": region, "offset": f"{offset:#x}", "width": width, "value": f"{value:#x}"}
        if self._describe is not None:
            event |= self._describe(region, offset, width, value, kind == "w") or {}
        if width == 8 and value > 0xFFF and (symbol := self.symbol(value)):
            event["sym"] = symbol
        self.end(began, kind, **event)

    def name(self, region: int, offset: int, width: int) -> Event:
        """``{"name": ...}`` of a register, or nothing."""
        found = None if self._describe is None else self._describe(region, offset, width, 0, False)
        return {"name": found["name"]} if found else {}

    def slots(self, region: int, stores: list[list[int]]) -> Event:
        """``{"slots": ...}``: what the messages are that a table's stores write, by slot; or nothing."""
        written = {} if self._messages is None else self._messages(region, stores)
        return {"slots": {str(index): name for index, name in written.items()}} if written else {}

    def symbol(self, address: int) -> str | None:
        for buffers in list(self.buffers.values()):
            found = buffers.symbol(address)
            if found:
                return found
        return None

    # --- what comes by itself -------------------------------------------------------------------------------------

    def note(self, kind: str, **content: Any) -> None:
        """An event that is no call: an interrupt, a mark."""
        now = time.monotonic_ns()
        self._put(kind, content, now, now)

    def note_memory(self, when: str) -> None:
        """What has changed in memory, up to the ``start`` of a call or by its ``end``."""
        with self._lock:
            changes = self._changes()
            if changes:
                self.note("mem", when=when, changes=changes)

    def _changes(self) -> list[list[object]]:
        return [change for buffers in list(self.buffers.values()) for change in buffers.changes()]

    def before_look(self) -> None:
        """Nothing: what was there before is seen by the look."""

    def after_look(self) -> None:
        """This process has looked at memory: what is there by now, it may have seen."""
        if self.contents and not self.closed:
            with self._lock:
                changes = self._changes()
                self.note("look", **({"changes": changes} if changes else {}))

    def drained(self, descriptor: int, count: int) -> None:
        """An event descriptor was drained."""
        vector = self.vectors.get(descriptor)
        if vector is not None and not self.closed:
            if self.contents:
                self.note_memory("end")
            self.note("irq", index=vector[0], vector=vector[1], count=count)

    # --- the file -------------------------------------------------------------------------------------------------

    def _put(self, kind: str, content: Event, began: int, ended: int) -> None:
        thread = threading.current_thread()
        with self._lock:
            if self.closed:
                return
            at = began - self._began
            number = self._threads.get(thread)
            if number is None:
                number = self._threads[thread] = len(self._threads)
                self._write({"t": at, "k": "thread", "th": number, "name": thread.name})
            if number:
                content["th"] = number
            last = self._pending
            if last is not None and kind in _FOLDED and last["k"] == kind and _same(last, content):
                last["times"] = last.get("times", 1) + 1
                last["dt"] = ended - self._began - last["t"]
                return
            self._flush_pending()
            self._pending = {"t": at, "k": kind} | ({"dt": ended - began} if ended - began >= 1000 else {}) | content

    def _flush_pending(self) -> None:
        event, self._pending = self._pending, None
        if event is not None:
            self._write(event)

    def _write(self, event: Event) -> None:
        self.events += 1
        self._file.write(encode(event))

    def header(self, content: Event) -> None:
        """The first line."""
        self._file.write(encode(content))

    def flush(self) -> None:
        """Write out what is still held."""
        with self._lock:
            if not self.closed:
                self._flush_pending()
                self._file.flush()

    def forget(self) -> None:
        """In a forked child: let what is buffered go nowhere."""
        with suppress(OSError, ValueError):  # a file that has no descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, self._file.fileno(), inheritable=False)
            os.close(nowhere)

    def close(self) -> None:
        """Write out the rest; events that come later are dropped."""
        with self._lock:
            if not self.closed:
                self._flush_pending()
                self.closed = True
                self._file.close()


def _same(last: Event, content: Event) -> bool:
    """Whether ``last`` happened once more."""
    return {key: value for key, value in last.items() if key not in ("t", "k", "dt", "times")} == content


_RECORDERS: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The recording is the parent's: what the child still has in its buffer would be written a second time.
    for recorder in list(_RECORDERS):
        if not recorder.closed:
            recorder.closed = True
            recorder.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
