# SPDX-License-Identifier: Apache-2.0
"""A client's interrupts, each taken here first and then passed on: so that a recorder of this process sees them."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from vfio_ims.native.events import new_eventfd
from vfio_ims.native.watch import watch
from vfio_ims.ports.values import IrqInfo
from vfio_ims.vfio_user.exported_irqs import ExportedIrqs
from vfio_ims.vfio_user.watcher import Watcher

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.vfio_user.removal_requests import RemovalRequests

__all__ = ["RelayedIrqs"]


class RelayedIrqs(ExportedIrqs):
    """As ``ExportedIrqs``, with an eventfd of our own at each vector. A thread passes events on, one by one."""

    def __init__(self, infos: Sequence[IrqInfo], port: DevicePort, requests: RemovalRequests) -> None:
        super().__init__(infos, port, requests)
        self._relays: dict[tuple[int, int], tuple[int, int]] = {}  # ours, the client's
        self._watcher = Watcher(f"{port.name} interrupts")
        self._watcher.start()

    def _descriptors(self, index: int, vectors: range, fds: list[int]) -> list[int]:
        """Eventfds of our own. The client's stay here until others take their place, or it is gone."""
        ours = [-1] * len(vectors)
        for at, vector in enumerate(vectors):
            before = self._relays.pop((index, vector), None)
            if before is not None:
                self._drop(*before)
            if fds:
                ours[at], theirs = new_eventfd(self._port.name), fds.pop(0)
                self._relays[index, vector] = ours[at], theirs
                self._watcher.add(ours[at], select.EPOLLIN, partial(self._pass_on, ours[at], theirs))
        return ours

    def _pass_on(self, ours: int, theirs: int) -> None:
        try:
            count = os.eventfd_read(ours)
        except OSError:  # taken already, or dropped just now
            return
        if watch.by is not None:
            watch.by.drained(ours, count)
        with contextlib.suppress(OSError):  # full: it is readable, that is all that matters
            os.eventfd_write(theirs, count)

    def _drop(self, ours: int, theirs: int) -> None:
        self._watcher.remove(ours)
        os.close(ours)
        os.close(theirs)

    def close(self) -> None:
        """Disable what the client has enabled, and end the thread; called once."""
        super().close()
        self._watcher.close()
        for ours, theirs in self._relays.values():
            os.close(ours)
            os.close(theirs)
        self._relays.clear()
