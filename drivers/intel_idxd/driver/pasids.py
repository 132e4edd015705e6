# SPDX-License-Identifier: Apache-2.0
"""Queues that work for a PASID: the queue, the function's address spaces and the interrupt have to agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceBusy, UsageError
from vfio_ims.locks import make_lock

from ..hardware.tables import PERMISSION_STRIDE, Permission

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort

    from ..hardware.registers import Bar0
    from .capabilities import Capabilities
    from .queue_settings import QueueSettings
    from .work_queue import WorkQueue

__all__ = ["Pasids"]


class Pasids:
    """The PASIDs that are attached, and how many sessions use each.

    A PASID's requests go through the device's own address space.
    """

    def __init__(self, port: DevicePort, regs: Bar0, capabilities: Capabilities, settings: QueueSettings) -> None:
        self._port, self._regs, self._capabilities, self._settings = port, regs, capabilities, settings
        self._label = regs.label
        self._lock = make_lock()
        self._users: dict[int, int] = {}

    def take(self, queue: WorkQueue, pasid: int) -> None:
        """Let ``queue`` work for ``pasid``: a dedicated one for one session at a time, a shared one for any number.

        DeviceBusy where another session uses the dedicated queue, UsageError for a shared one that was configured
        without PASIDs, UnsupportedError where kernel, IOMMU or device cannot.
        """
        operation = f"give work queue {queue.index} PASID {pasid}"
        with self._lock:
            if queue.dedicated and queue.sessions:
                why, hint = "other sessions use the queue without it", "use another queue, or close them first"
                raise DeviceBusy(operation, device=self._label, why=why, hint=hint)
            if not queue.dedicated and self._settings.active.queue(queue.index).pasid is None:
                why = "the shared queue was configured without PASIDs"
                hint = "configure it with pasid=0: each request of a shared queue then has its own"
                raise UsageError(operation, device=self._label, why=why, hint=hint)
            if pasid not in self._users:
                self._port.attach_pasid(pasid, self._port.space)
            self._users[pasid] = self._users.get(pasid, 0) + 1
            if not queue.dedicated:
                return
            queue.pasid = pasid
            try:
                self._settings.set_pasid(queue, pasid)
            except BaseException:
                self._drop(queue, pasid)
                raise

    def give_back(self, queue: WorkQueue, pasid: int) -> None:
        """The queue works without a PASID again; a shared one without this session's."""
        with self._lock:
            try:
                if queue.dedicated:
                    self._settings.set_pasid(queue, None)
            finally:
                self._drop(queue, pasid)

    def _drop(self, queue: WorkQueue, pasid: int) -> None:
        if queue.dedicated:
            queue.pasid = None
        self._users[pasid] -= 1
        if not self._users[pasid]:
            del self._users[pasid]
            self._port.detach_pasid(pasid)

    def allow(self, vector: int, pasid: int | None) -> None:
        """Let work for ``pasid`` raise MSI-X ``vector``."""
        at = self._capabilities.table("permissions") + vector * PERMISSION_STRIDE
        entry = Permission(self._regs.window, at, self._label).ENTRY
        entry.write(pasid_enable=pasid is not None, pasid=pasid or 0)
