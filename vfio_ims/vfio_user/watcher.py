# SPDX-License-Identifier: Apache-2.0
"""A thread that waits for descriptors and calls back, and the eventfds of a client's vectors that it waits for."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable

from vfio_ims.native.events import new_eventfd
from vfio_ims.native.failure import failed
from vfio_ims.vfio_user.forked import dropped_in_child

__all__ = ["VectorEvents", "Watcher"]

log = logging.getLogger(__name__)


class Watcher:
    """Calls ``ready`` of each descriptor that is. Descriptors stay their owners'; take them out before closing them."""

    def __init__(self, name: str) -> None:
        self._name, self._over = name, False
        self._ready: dict[int, Callable[[], None]] = {}
        self._wake = new_eventfd(name)
        try:
            self._epoll = select.epoll()
        except OSError as error:
            os.close(self._wake)
            raise failed(error.errno or 0, "create an epoll", name) from error
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        dropped_in_child(self)

    def start(self) -> None:
        self._thread.start()

    def add(self, fd: int, events: int, ready: Callable[[], None]) -> None:
        self._ready[fd] = ready
        self._epoll.register(fd, events)

    def arm(self, fd: int, events: int) -> None:
        """Change what ``fd`` is watched for. Does nothing once closed."""
        try:  # noqa: SIM105 - at each access: suppress is three calls
            self._epoll.modify(fd, events)
        except (ValueError, OSError):
            pass

    def remove(self, fd: int) -> None:
        if self._ready.pop(fd, None) is not None:
            with contextlib.suppress(ValueError, OSError):
                self._epoll.unregister(fd)

    def _run(self) -> None:
        while not self._over:
            for fd, _ in self._epoll.poll():
                ready = self._ready.get(fd)
                if ready is not None and not self._over:
                    try:
                        ready()
                    except Exception:
                        log.exception("%s: a call back failed", self._name)

    def drop(self) -> None:
        """In a forked child, which has no such thread."""
        self._over = True
        self._epoll.close()
        wake, self._wake = self._wake, -1
        with contextlib.suppress(OSError):
            os.close(wake)

    def close(self) -> None:
        """End the thread; called once."""
        self._over = True
        os.eventfd_write(self._wake, 1)
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._epoll.close()
        wake, self._wake = self._wake, -1
        os.close(wake)


class VectorEvents:
    """One eventfd a vector, made here, for the server to signal: then ``fired(index, vector)`` is called."""

    def __init__(self, watcher: Watcher, fired: Callable[[int, int], None]) -> None:
        self._watcher, self._fired = watcher, fired
        self._lock = threading.Lock()
        self._fds: dict[tuple[int, int], int] = {}
        dropped_in_child(self)

    def drop(self) -> None:
        """In a forked child."""
        fds, self._fds = self._fds, {}
        for fd in fds.values():
            with contextlib.suppress(OSError):
                os.close(fd)

    def armed(self, index: int) -> bool:
        """Whether a vector of this kind has one."""
        return any(kind == index for kind, _ in self._fds)

    def open(self, index: int, vector: int) -> int:
        """The vector's eventfd, made now if it has none."""
        with self._lock:
            fd = self._fds.get((index, vector))
            if fd is None:
                fd = self._fds[index, vector] = new_eventfd(f"vector {vector}")
                self._watcher.add(fd, select.EPOLLIN, lambda: self._take(index, vector, fd))
            return fd

    def _take(self, index: int, vector: int, fd: int | None) -> None:
        with self._lock:  # no thread closes it, and gives its number to another file, between look and read
            if fd is None or self._fds.get((index, vector)) != fd:
                return
            try:
                os.eventfd_read(fd)
            except BlockingIOError:
                return
        self._fired(index, vector)

    def close(self, index: int, vector: int) -> None:
        with self._lock:
            fd = self._fds.pop((index, vector), None)
            if fd is not None:
                self._watcher.remove(fd)
                os.close(fd)

    def close_all(self) -> None:
        for index, vector in list(self._fds):
            self.close(index, vector)
