# SPDX-License-Identifier: Apache-2.0
"""The modelled work queues: their portals, what they accept, and what they answer to the rest."""

from __future__ import annotations

from vfio_ims.models.register_file import View
from vfio_ims.registers import RegisterValue

from ..hardware.descriptors import DESCRIPTOR_SIZE, Descriptor
from ..hardware.events import Event
from ..hardware.portals import IMS_PORTAL, LIMITED_PORTAL, QUEUE_PORTALS
from ..hardware.software_error import NOT_ENABLED, OVERRUN, WRONG_STORE
from ..hardware.tables import QueueConfig, QueueState
from .engines import Engines
from .groups import traffic_classes
from .reporter import Reporter
from .state import ModelState
from .work import EnabledQueue, Work

__all__ = ["QueueEntry", "WorkQueues"]

_ALL = (1 << DESCRIPTOR_SIZE) - 1
_STATUS = QueueConfig.STATUS
_STATE = _STATUS.fields["state"]


class WorkQueues:
    """Takes descriptors from the portals and gives them to the engines. Called with the state's lock held."""

    def __init__(self, state: ModelState, engines: Engines, reporter: Reporter) -> None:
        self._state, self._engines, self._reporter = state, engines, reporter
        self.count = len(state.queues)
        self._pieces: dict[int, tuple[bytearray, int]] = {}
        self.live: list[EnabledQueue | None] = [None] * self.count

    def enabled(self, queue: int) -> None:
        """Latch the configuration: the queue takes work from now on."""
        entry = self.entry(queue)
        mode, limits = entry.mode, entry.limits
        self.live[queue] = EnabledQueue(
            queue,
            entry.size,
            entry.threshold,
            bool(mode.dedicated),
            bool(mode.pasid_enable),
            mode.pasid,
            bool(mode.privileged),
            bool(mode.block_on_fault),
            1 << limits.max_transfer_shift,
            1 << limits.max_batch_shift,
            self._state.operations_of(queue),
            traffic_classes(self._state.groups, queue),
        )
        entry.state = QueueState.ENABLED

    def stopped(self, queue: int, state: QueueState) -> None:
        """The queue takes nothing more: it is busy with what it has, or disabled."""
        self.live[queue] = None
        self.entry(queue).state = state

    def entry(self, queue: int) -> QueueEntry:
        return QueueEntry(self._state.queues[queue])

    def clear(self, queue: int) -> None:
        """RESET_WQ: everything but size and threshold, which the enabled device holds on to."""
        row = self._state.queues[queue]
        for register in (QueueConfig.MODE, QueueConfig.LIMITS, QueueConfig.OCCUPANCY_INTERRUPT):
            row.set(register, 0)
        row.set(QueueConfig.OCCUPANCY_LIMIT, 0)
        row.set(QueueConfig.STATUS, mode_support=1)

    # --- portals ------------------------------------------------------------------------------------------------------

    def store(self, offset: int, data: bytes) -> None:
        """A write to a portal: one descriptor, or a piece of one, collected by its 64 bytes' address."""
        if len(data) == DESCRIPTOR_SIZE and not offset % DESCRIPTOR_SIZE:
            queue, page = divmod(offset, QUEUE_PORTALS)
            if queue < self.count:
                self._state.after(self._posted, queue, data, bool(page & IMS_PORTAL))
            return
        at = 0
        while at < len(data):
            place, inside = (offset + at) & -DESCRIPTOR_SIZE, (offset + at) % DESCRIPTOR_SIZE
            step = min(DESCRIPTOR_SIZE - inside, len(data) - at)
            whole, seen = self._pieces.pop(place, (bytearray(DESCRIPTOR_SIZE), 0))
            whole[inside : inside + step] = data[at : at + step]
            seen |= ((1 << step) - 1) << inside
            if seen == _ALL:
                self._arrived(place, bytes(whole))
            else:
                self._pieces[place] = (whole, seen)
            at += step

    def _arrived(self, offset: int, data: bytes) -> None:
        queue, page = divmod(offset, QUEUE_PORTALS)
        if queue < self.count:
            self._state.after(self._posted, queue, data, bool(page & IMS_PORTAL))

    def _posted(self, queue: int, data: bytes, ims: bool) -> None:
        """A dedicated queue takes posted stores and cannot refuse: what does not fit is lost, and reported."""
        live = self.live[queue]
        if live is None:
            error = NOT_ENABLED
        elif not live.dedicated:
            error = WRONG_STORE
        elif self._state.backlog[queue] >= live.size:
            error = OVERRUN
        else:
            descriptor = Descriptor.decode(data)
            self._engines.take(Work(live, descriptor, ims, live.pasid if live.pasid_enable else None))
            return
        descriptor = Descriptor.decode(data)
        self._reporter.software_error(Event(error, queue, descriptor.opcode))

    def enqueue(self, offset: int, data: bytes) -> bool:
        """ENQCMD: whether a shared queue takes it. Through the limited portal up to its threshold, else its size."""
        queue, page = divmod(offset, QUEUE_PORTALS)
        if queue >= self.count:
            return False
        live = self.live[queue]
        if live is None or live.dedicated:
            return False
        if self._state.backlog[queue] >= (live.threshold if page & LIMITED_PORTAL else live.size):
            return False
        self._state.after(self._accept, live, data, bool(page & IMS_PORTAL))
        return True

    def _accept(self, live: EnabledQueue, data: bytes, ims: bool) -> None:
        """A shared queue's descriptor has its own PASID."""
        descriptor = Descriptor.decode(data)
        self._engines.take(Work(live, descriptor, ims, descriptor.pasid if live.pasid_enable else None))

    def reset(self) -> None:
        self._engines.abort(lambda work: True)
        self.live = [None] * self.count
        self._pieces.clear()


class QueueEntry:
    """WQCFG of one queue."""

    __slots__ = ("_row",)

    def __init__(self, row: View) -> None:
        self._row = row

    @property
    def size(self) -> int:
        return self._row.get(QueueConfig.SIZE).entries

    @property
    def threshold(self) -> int:
        return self._row.get(QueueConfig.THRESHOLD).entries

    @property
    def mode(self) -> RegisterValue:
        return self._row.get(QueueConfig.MODE)

    @property
    def limits(self) -> RegisterValue:
        return self._row.get(QueueConfig.LIMITS)

    @property
    def state(self) -> int:
        return _STATE.get(self._row.get(_STATUS))

    @state.setter
    def state(self, state: int) -> None:
        self._row.update(QueueConfig.STATUS, state=state)
