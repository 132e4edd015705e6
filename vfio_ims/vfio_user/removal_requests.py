# SPDX-License-Identifier: Apache-2.0
"""The kernel asks for an opened function back (REQ): first its client is asked, then it is given up."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.errors import RemovedError, VfioImsError
from vfio_ims.native.events import new_eventfd, notify
from vfio_ims.ports.values import IrqIndex, IrqSet
from vfio_ims.vfio_user.watcher import Watcher

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort

__all__ = ["RemovalRequests"]


class RemovalRequests:
    """Listens to ``port``'s REQ. The kernel repeats it while it waits, every 10 seconds (vfio_unregister_group_dev).

    The first request goes to the client's eventfd, if it has one; else, or with the second, ``gone`` is called.
    """

    def __init__(self, port: DevicePort, gone: Callable[[VfioImsError], None]) -> None:
        self._port, self._gone = port, gone
        self._lock = threading.Lock()
        self._client, self._asked = -1, False
        self._fd, self._watcher = -1, None
        if port.irq_info(IrqIndex.REQ).count:
            self._fd = new_eventfd(port.name)
            try:
                flags = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
                port.set_irqs(IrqIndex.REQ, flags, 0, 1, [self._fd])
                self._watcher = Watcher(f"{port.name} requests")
            except BaseException:
                os.close(self._fd)
                raise
            self._watcher.add(self._fd, select.EPOLLIN, self._requested)
            self._watcher.start()

    def listen(self, fd: int) -> None:
        """Take over the client's eventfd, -1 for none; the one before is closed."""
        with self._lock:
            before, self._client, self._asked = self._client, fd, False
        if before >= 0:
            os.close(before)

    def signal(self) -> None:
        """Signal the client's eventfd, if it has one: it triggers the interrupt itself."""
        with self._lock:
            if self._client >= 0:
                notify(self._client)

    def _requested(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        with self._lock:
            patient = self._client >= 0 and not self._asked
            self._asked = True
            if patient:
                notify(self._client)
        if not patient:
            why = "the kernel wants the function back (it is being unbound or removed)"
            self._gone(RemovedError("serve", device=self._port.name, why=why))

    def close(self) -> None:
        """Idempotent."""
        self.listen(-1)
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()
            with contextlib.suppress(VfioImsError):
                self._port.set_irqs(IrqIndex.REQ, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)
            os.close(self._fd)
