# SPDX-License-Identifier: Apache-2.0
"""The drivers of DSA and IAA: bring-up, teardown, where the slot table is, raising interrupts on request.

The bring-up is that of SPDK, DPDK and dsa-perf-micros, which drive these devices through VFIO: reset, write groups and
queues, enable the device, enable the queues. Dedicated queues without PASID, so that requests go through the
function's own address space.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from vfio_ims.driver import Driver, FireReport
from vfio_ims.errors import DeviceError, UnsupportedError, UsageError, VfioImsError, check_index
from vfio_ims.ims import SlotArray
from vfio_ims.locks import made, made_once

from ..hardware.commands import Command, queue_operand
from ..hardware.descriptors import RECORD_SIZE
from ..hardware.events import Event
from ..hardware.portals import PORTAL_BAR
from ..hardware.registers import Bar0, ResetNeeded, State
from ..hardware.software_error import acknowledge
from ..hardware.tables import PERMISSION_STRIDE, Permission
from .capabilities import Capabilities, find_slots
from .commander import Commander
from .configuration import Configuration
from .configuration_check import check_fits
from .event_log import EventLog
from .firing import Firing
from .handles import Handles
from .in_flight import InFlight
from .pasids import Pasids
from .queue_control import QueueControl
from .queue_session import DsaQueue, IaaQueue, whole
from .queue_settings import QueueSettings
from .records import ListPool, RecordPool
from .report import describe_details, describe_status
from .resources import Resources
from .work_queue import WorkQueue

if TYPE_CHECKING:
    from vfio_ims.device import Device

__all__ = ["Dsa", "Iaa", "Idxd"]

_EVERYTHING = 0xFFFF_FFFF


class Idxd(Driver):
    """What DSA and IAA have in common."""

    reserved_vectors = (0,)
    """Vector 0 reports errors, commands and revoked handles: its permission entry is not for work."""

    kind: ClassVar[str]
    configuration: Configuration | None = None
    """What ``start`` writes; None: every queue used, dedicated and alike."""

    capabilities: Capabilities
    regs: Bar0

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.queues: dict[int, WorkQueue] = {}
        self.dedicated: list[WorkQueue] = []
        self.log: EventLog | None = None

    # --- bring-up and teardown ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Reset, configure and enable the device and its queues; nothing has been raised.

        DeviceError names what the device objects to, DeviceTimeout a command that does not end.
        """
        regs = self.regs = self.device.bar(0).bind(Bar0)
        capabilities = self.capabilities = Capabilities.read(regs, self.kind)
        self.commander.run(Command.RESET_DEVICE)
        self._expect(State.DISABLED)
        regs.GENCTRL.write(0)
        acknowledge(regs)
        regs.INTCAUSE.write(_EVERYTHING)
        chosen = self.configuration or Configuration.even(capabilities)
        chosen.write(regs, capabilities)
        self._set_up_log(chosen)
        self._allow_vectors()
        self._renew(chosen)
        self.commander.run(Command.ENABLE_DEVICE)
        self._expect(State.ENABLED)
        for queue in self.queues.values():
            self.commander.run(Command.ENABLE_QUEUE, queue.index)

    def _expect(self, state: State) -> None:
        found = self.regs.GENSTS.read()
        if found.state == State.HALT and found.reset_needed == ResetNeeded.FUNCTION and self.device.can_reset:
            self.device.reset()
            self.device.config.memory = self.device.config.bus_master = True
            found = self.regs.GENSTS.read()
        if found.state != state:
            hint = "the device is halted: reset the function" if found.state == State.HALT else ""
            why = f"it must be {state.name.lower()}; {found!r}"
            raise DeviceError("bring the device up", device=self.label, why=why, hint=hint)

    def _set_up_log(self, chosen: Configuration) -> None:
        """The event log, where the configuration asks for one. UnsupportedError where the device has none."""
        if chosen.event_log and not self.capabilities.general.event_log:
            why = "GENCAP has no event log: version 1 has none"
            raise UnsupportedError("set up the event log", device=self.label, why=why)
        if self.log is not None and self.log.entries != chosen.event_log:
            self.log.close()
            self.log = None
        if chosen.event_log:
            if self.log is None:
                self.log = EventLog(self.device.dma, chosen.event_log, self.capabilities.general.event_log)
            self.log.set_up(self.regs)

    def events(self) -> list[Event]:
        """Errors that the event log has since this was last asked; none without a log."""
        self.check_open("read the event log")
        return [] if self.log is None else self.log.take(self.regs)

    def event_about(self, queue: int, handles: Sequence[int]) -> Event | None:
        """Take the entries that say that ``queue`` was given one of ``handles``, which was bad; the first of them."""
        if self.log is None:
            return None
        events = [self.log.take_about(self.regs, queue, handle) for handle in handles]
        return next((event for event in events if event is not None), None)

    def _allow_vectors(self) -> None:
        """Every vector but 0 may be raised by work without a PASID. A reset clears this table."""
        at = self.capabilities.table("permissions")
        for vector in range(1, self.device.interrupts.msix.count):
            Permission(self.regs.window, at + vector * PERMISSION_STRIDE, self.label).ENTRY.write(0)

    def _renew(self, chosen: Configuration) -> None:
        """What we know of queues, handles and work in flight, after a reset of the device."""
        self.settings.active = chosen
        self.handles.forget()
        self.in_flight.clear()
        for queue in self.queues.values():
            queue.loan = None
        portals = self.device.bar(PORTAL_BAR)
        self.queues = {
            queue.index: self._kept(queue.index, queue.size, queue.dedicated)
            or WorkQueue(portals, self.regs, self.in_flight, queue.index, queue.size, dedicated=queue.dedicated)
            for queue in chosen.queues
            if queue.size
        }
        self.dedicated[:] = [queue for queue in self.queues.values() if queue.dedicated]
        assert self.firing is not None  # made here, before several threads ask for it

    def _kept(self, index: int, size: int, dedicated: bool) -> WorkQueue | None:
        old = self.queues.get(index)
        return old if old is not None and (old.size, old.dedicated) == (size, dedicated) else None

    def configure(self, configuration: Configuration | None) -> None:
        """Stop the device and start it with ``configuration`` (None: every queue used, dedicated and alike).

        As a reset: slots that are allocated keep their owners, who are woken once. UsageError, and the device is left
        as it was, where a value does not fit its registers.
        """
        if configuration is not None:
            check_fits(configuration, self.capabilities, self.label)
        self.configuration = configuration
        self.reset()

    def stop(self) -> None:
        """Disable queues and device; what is in flight completes first. A device that does not answer is left alone."""
        with contextlib.suppress(VfioImsError):
            regs = self.device.bar(0).bind(Bar0)
            if regs.VERSION.read() == _EVERYTHING or regs.GENSTS.read().state != State.ENABLED:
                return
            for index in self.queues:
                self.commander.attempt(Command.DISABLE_QUEUE, queue_operand(index))
            self.commander.attempt(Command.DISABLE_DEVICE)
            regs.GENCTRL.write(0)

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """What is submitted meanwhile waits: the reset would lose it, and nothing would ever complete it."""
        with contextlib.ExitStack() as held:
            held.enter_context(super()._quiet())
            firing = made(self, "firing")
            if firing is not None:
                held.enter_context(firing.paused())
            for queue in list(self.queues.values()):
                held.enter_context(queue.lock)
                queue.page.close()
            yield

    def _release(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(super()._release)
            stack.callback(self._close_memory)
            if self._started:
                stack.callback(self.stop)
            for queue in self.queues.values():
                queue.page.close()
            firing = made(self, "firing")
            if firing is not None:
                stack.callback(firing.close)  # before the device stops: what is under way completes
            if "ims" in self.__dict__:  # or opening it failed before
                stack.callback(self.ims.close)

    def _close_memory(self) -> None:
        if "in_flight" in self.__dict__:
            self.in_flight.clear()  # it looks at records by their addresses
        for name in ("records", "lists", "log"):
            held = self.__dict__.get(name)
            if held is not None:
                held.close()

    # --- parts --------------------------------------------------------------------------------------------------------

    @made_once
    def commander(self) -> Commander:
        """Commands to the device."""
        return Commander(self.device.bar(0).bind(Bar0))

    @made_once
    def handles(self) -> Handles:
        """The interrupt handles by which descriptors name slots: requested from the device where CMDCAP wants that."""
        return Handles(self.commander, self.label, request=self.capabilities.wants_handles)

    @made_once
    def in_flight(self) -> InFlight:
        """The work that the device has, of every queue and session."""
        return InFlight()

    @made_once
    def records(self) -> RecordPool:
        """Completion records for operations."""
        return RecordPool(self.device.dma, RECORD_SIZE[self.kind])

    @made_once
    def lists(self) -> ListPool:
        """Descriptor lists for batches."""
        return ListPool(self.device.dma)

    @made_once
    def settings(self) -> QueueSettings:
        """The configuration that the device has, and how a queue gets another PASID."""
        return QueueSettings(self.regs, self.capabilities, self.commander)

    @property
    def active(self) -> Configuration:
        """The configuration that was written."""
        return self.settings.active

    @made_once
    def pasids(self) -> Pasids:
        """Which PASIDs queues are set up for, and by how many sessions."""
        return Pasids(self.device.port, self.regs, self.capabilities, self.settings)

    @made_once
    def resources(self) -> Resources:
        """What sessions and fires are given."""
        return Resources(
            owner=self,
            device=self.device,
            regs=self.regs,
            capabilities=self.capabilities,
            settings=self.settings,
            commander=self.commander,
            handles=self.handles,
            pasids=self.pasids,
            in_flight=self.in_flight,
            records=self.records,
            lists=self.lists,
            allocate=lambda pasid: self.ims.allocate(pasid=pasid),
        )

    @made_once
    def firing(self) -> Firing:
        """How slots are raised: by no-ops whose completion interrupt names them."""
        return Firing(self.resources, self.dedicated, self.event_about)

    @made_once
    def control(self) -> QueueControl:
        """Commands to whole queues: drain, abort, occupancy."""
        return QueueControl(self.resources, self._queue)

    # --- the contract -------------------------------------------------------------------------------------------------

    def ims_table(self) -> SlotArray:
        """The IMS table where GENCAP and TABLE_OFFSETS say it is. UnsupportedError where the device has none."""
        layout = find_slots(self.device.bar(0).bind(Bar0))
        if layout is None:
            why = "GENCAP's multiplier or the table's offset is 0"
            raise UnsupportedError("find the IMS table", device=self.label, why=why)
        return SlotArray(self.device, layout)

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        """Raise ``slot`` by a no-op whose completion interrupt names it, through an IMS portal.

        Untagged: a completion record has its status. With ``pasid``: one queue is given that PASID, and the
        no-op has no record (its memory need not be attached to the PASID): the queue is drained and SWERR is read.
        """
        self.check_open(f"fire slot {slot}")
        return self.firing.fire(slot) if pasid is None else self.firing.tagged.fire(slot, pasid)

    def fire_many(self, slots: Sequence[int], *, pasid: int | None = None) -> Sequence[FireReport]:
        """As ``fire``, the no-ops stored together, as many at once as a queue has entries.

        With ``pasid`` the queue is drained once for all of them. SWERR does not name the slot that it is about: an
        error is then the report of each.
        """
        self.check_open("fire slots")
        return self.firing.fire_many(slots) if pasid is None else self.firing.tagged.fire_many(slots, pasid)

    def fired(self, slots: Sequence[int]) -> Sequence[int]:
        """Those of ``slots`` whose work has completed: one compiled look at the records of work in flight."""
        if self.forked:
            self.check_open("see which slots fired")
        return self.in_flight.fired(slots)

    def fire_vector(self, vector: int) -> None:
        """Raise an MSI-X vector: 0 by a command that asks for its interrupt, others by a no-op's completion."""
        self.check_open(f"fire vector {vector}")
        count = self.device.interrupts.msix.count
        check_index(vector, count, "vector", "fire a vector", self.label)
        if vector == 0:
            self.commander.run(Command.DRAIN_ALL, interrupt=True)
        else:
            self.firing.fire_vector(vector)

    def quiesce(self, slot: int) -> None:
        """Drain the queues, so that no work in flight raises ``slot``, and give its interrupt handle back."""
        if self.in_flight.busy:
            self.commander.attempt(Command.DRAIN_ALL)
        self.in_flight.unwatch(slot)
        if self.handles.request:
            self.handles.release_slot(slot)

    def status(self) -> str:
        return describe_status(self.device.bar(0).bind(Bar0))

    def firmware(self) -> str:
        version = self.capabilities.version
        return f"version {version.major}.{version.minor}"

    def fault(self) -> str:
        """A device that another program has reset or disabled, or that has halted."""
        found = self.regs.GENSTS.read()
        return "" if found.state == State.ENABLED else f"it is not enabled any more: {found!r}"

    def details(self) -> list[tuple[str, str]]:
        """Capabilities, groups, queues and errors, by the names that accel-config has for them."""
        return describe_details(self.regs, self.capabilities, self.kind)

    # --- work ---------------------------------------------------------------------------------------------------------

    def _queue(self, index: int) -> WorkQueue:
        self.check_open(f"use work queue {index}")
        queue = self.queues.get(index)
        if queue is None:
            why = f"enabled are {', '.join(map(str, self.queues)) or 'none'}"
            raise UsageError(f"use work queue {index}", device=self.label, why=why)
        return queue


class Dsa(Idxd):
    """Data Streaming Accelerator."""

    kind = "dsa"

    def wq(
        self, index: int = 0, completion: object = "poll", *, pasid: int | None = None, timeout: float = 10.0
    ) -> DsaQueue:
        """Work on queue ``index``: ``with dsa.wq(0) as wq: wq.memmove(dst, src, size)``, or ``async with`` and await.

        ``completion``: how completions are noticed. "poll": a compiled loop over the record; an ``ImsInterrupt``, own
        or shared; a ``VectorInterrupt``; "ims" or "msix": one of those, taken for the session. ``pasid``: its requests
        are tagged with that, for this session only; a slot given must be allocated for it. ``timeout``: seconds that
        one operation may take.
        """
        return whole(DsaQueue, self.resources, self._queue(index), completion, timeout, pasid)


class Iaa(Idxd):
    """In-Memory Analytics Accelerator."""

    kind = "iaa"

    def wq(
        self, index: int = 0, completion: object = "poll", *, pasid: int | None = None, timeout: float = 10.0
    ) -> IaaQueue:
        """Work on queue ``index``: ``with iaa.wq(0) as wq: wq.crc64(src, size)``, or ``async with`` and await.

        ``completion``, ``pasid`` and ``timeout`` are as for ``Dsa.wq``.
        """
        return whole(IaaQueue, self.resources, self._queue(index), completion, timeout, pasid)
