# SPDX-License-Identifier: Apache-2.0
"""Devices appearing, bound, ready, unbound, removed: seen by comparing, so that bursts of events lose nothing."""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from vfio_ims.errors import ClosedError
from vfio_ims.host.event_sources import EventSource, best_source
from vfio_ims.host.holders import nodes_of
from vfio_ims.host.machine import Machine
from vfio_ims.pci import PciAddress
from vfio_ims.sysfs import Function
from vfio_ims.sysfs.kernel_drivers import is_vfio_driver

__all__ = ["DeviceEvent", "DeviceEvents", "EventKind"]

_READY_INTERVAL = 0.25


class EventKind(StrEnum):
    """READY: bound to a VFIO driver, and this user may open its node."""

    APPEARED = "appeared"
    BOUND = "bound"
    READY = "ready"
    UNBOUND = "unbound"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """What happened to one function. ``id`` as 8086:0b25; ``driver`` and ``node`` where the event has one."""

    kind: EventKind
    address: PciAddress
    id: str | None = None
    driver: str | None = None
    node: str | None = None
    time: float = field(default_factory=time.time, compare=False)

    def __str__(self) -> str:
        more = [self.id or "?", *((f"to {self.driver}",) if self.kind is EventKind.BOUND else ())]
        more += [f"from {self.driver}"] if self.kind is EventKind.UNBOUND else []
        more += [self.node] if self.node else []
        return f"{self.address} {self.kind} {' '.join(more)}"

    def to_json(self) -> dict[str, object]:
        """Plain values; see docs/json.md."""
        return {
            "event": str(self.kind),
            "address": str(self.address),
            "id": self.id,
            "driver": self.driver,
            "node": self.node,
            "time": self.time,
        }


@dataclass(frozen=True, slots=True)
class _Seen:
    """One function as it was last seen. ``inode``: its folder's, another one after it went and came back."""

    inode: int
    id: str | None
    driver: str | None
    node: str | None


class DeviceEvents:
    """An iterator of events, for threads (``for``, ``poll``) and tasks (``async for``).

    Listens before it looks for the first time, so nothing falls in between. ``existing``: what is there at first is
    reported too. Between two looks a device may come and go unseen; one that went and came back is reported as that.
    """

    def __init__(
        self, machine: Machine | None = None, *, existing: bool = False, source: EventSource | None = None
    ) -> None:
        self.machine = machine or Machine()
        self._source: EventSource = source or best_source(self.machine)
        self._seen: dict[PciAddress, _Seen] = {}
        self._waiting: deque[DeviceEvent] = deque()
        self._closed = False
        self._poll = select.poll()
        if self._source.fileno() >= 0:
            self._poll.register(self._source.fileno(), select.POLLIN)
        self._scan(None)
        if not existing:
            self._waiting.clear()

    # --- looking ------------------------------------------------------------------------------------------------------

    def _scan(self, addresses: set[PciAddress] | None) -> None:
        if addresses is None:
            addresses = set(self._seen) | {function.address for function in self.machine.functions()}
        for address in sorted(addresses):
            was, now = self._seen.get(address), self._state_of(address)
            if was != now:
                self._waiting.extend(_difference(address, was, now))
            if now is None:
                self._seen.pop(address, None)
            else:
                self._seen[address] = now

    def _state_of(self, address: PciAddress) -> _Seen | None:
        function = Function(address, self.machine.sys)
        try:
            inode = os.stat(function.path).st_ino
        except OSError:
            return None
        node = None
        if is_vfio_driver(function.driver):
            node = next(
                (
                    found.path
                    for name in nodes_of(function)
                    if (found := self.machine.node(name)) is not None and found.accessible
                ),
                None,
            )
        return _Seen(inode, function.id, function.driver, node)

    def _update(self) -> None:
        news = self._source.news()
        pending = {address for address, seen in self._seen.items() if is_vfio_driver(seen.driver) and not seen.node}
        self._scan(None if news is None else news | pending)

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _pause(self) -> float | None:
        """How long to wait before looking although nothing was heard: permissions may come by hand."""
        if any(is_vfio_driver(seen.driver) and not seen.node for seen in self._seen.values()):
            return _READY_INTERVAL
        return self._source.interval

    def _check(self) -> None:
        if self._closed:
            raise ClosedError("wait for device events", why="the iterator was closed")

    def poll(self, timeout: float | None = None) -> DeviceEvent | None:
        """The next event; None after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._check()
            if self._waiting:
                return self._waiting.popleft()
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            pauses = [pause for pause in (left, self._pause()) if pause is not None]
            self._poll.poll(min(pauses) * 1000 if pauses else None)
            self._update()
            if not self._waiting and left == 0.0:
                return None

    def __iter__(self) -> Iterator[DeviceEvent]:
        while (event := self.poll()) is not None:
            yield event

    async def __aiter__(self) -> AsyncIterator[DeviceEvent]:
        loop = asyncio.get_running_loop()
        while True:
            self._check()
            while self._waiting:
                yield self._waiting.popleft()
            heard = asyncio.Event()
            descriptor = self._source.fileno()
            if descriptor >= 0:
                loop.add_reader(descriptor, heard.set)
            try:
                async with asyncio.timeout(self._pause()):
                    await heard.wait()
            except TimeoutError:
                pass
            finally:
                if descriptor >= 0:
                    loop.remove_reader(descriptor)
            if not self._closed:
                self._update()

    def close(self) -> None:
        """Stop listening."""
        if not self._closed:
            self._closed = True
            self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _difference(address: PciAddress, was: _Seen | None, now: _Seen | None) -> Iterator[DeviceEvent]:
    if was is not None and (now is None or now.inode != was.inode):
        if was.driver is not None:
            yield DeviceEvent(EventKind.UNBOUND, address, was.id, was.driver)
        yield DeviceEvent(EventKind.REMOVED, address, was.id)
        was = None
    if now is None:
        return
    if was is None:
        yield DeviceEvent(EventKind.APPEARED, address, now.id)
        was = _Seen(now.inode, now.id, None, None)
    if was.driver != now.driver:
        if was.driver is not None:
            yield DeviceEvent(EventKind.UNBOUND, address, now.id, was.driver)
        if now.driver is not None:
            yield DeviceEvent(EventKind.BOUND, address, now.id, now.driver)
    if now.node is not None and (was.node is None or was.driver != now.driver):
        yield DeviceEvent(EventKind.READY, address, now.id, now.driver, now.node)
