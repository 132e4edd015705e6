# SPDX-License-Identifier: Apache-2.0
"""The domain of one slot table: allocates slots, fills them with donors' messages, wakes their owners."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import ClosedError, UsageError, VfioImsError, check_index
from vfio_ims.ims.allocator import SlotAllocator
from vfio_ims.ims.dispatch import Dispatcher
from vfio_ims.ims.donor import Donor
from vfio_ims.ims.group import ImsGroup
from vfio_ims.ims.health import find_fault
from vfio_ims.ims.interrupt import ImsInterrupt
from vfio_ims.ims.polled import PolledSlot, PolledWords
from vfio_ims.ims.quiesce import Quiescer
from vfio_ims.ims.records import SlotRecords
from vfio_ims.ims.report import DomainReport, report_of
from vfio_ims.ims.request import ANY, Request
from vfio_ims.ims.slot_writer import SlotWriter
from vfio_ims.ims.table import ImsTable
from vfio_ims.ims.table_donors import TableDonors
from vfio_ims.lifetime import Owner
from vfio_ims.messages import Message, Slot

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ims.driver_callbacks import DriverCallbacks
    from vfio_ims.interrupts import Wakeup

__all__ = ["ImsDomain"]


class ImsDomain(Owner):
    """Allocates from ``table``, singly or in groups, concurrently. Made by a driver; safe for several threads.

    Making it quiesces every slot of the table; closing it does so again and then detaches the donors. ``reserved``
    vectors are never donors. Linux's former IMS API is the yardstick: indices need not be consecutive, a cookie goes
    with each, entries are written masked and unmasked last, a closed slot is left masked and zeroed.
    """

    def __init__(
        self, device: Device, table: ImsTable, callbacks: DriverCallbacks, *, reserved: Collection[int] = ()
    ) -> None:
        self.device, self.table = device, table
        self.hub = device.interrupts.hub
        self._callbacks = callbacks
        self._vectors = device.interrupts.donors.count
        self._lock = device.interrupts.donors.lock  # the device's: one table's slots are moved for another's sake
        self._records = SlotRecords(table.size, device.name)
        self._dispatcher = Dispatcher(self._records, callbacks, self.hub)
        self._quiescer, self._words = Quiescer(device, table), PolledWords(device)
        try:
            self._quiescer.quiesce(range(table.size))
        except BaseException:
            self._quiescer.close()
            raise
        self._pool = TableDonors(
            device.interrupts.donors,
            table,
            self._dispatcher.dispatch,
            reserved=reserved,
            others=self._records.message,
            move=lambda slots, donors: self._writer.copy(slots, donors),
            rewrite=lambda slots: self._writer.rewrite(slots),
            fail=self.fail,
            device=device.name,
        )
        self._allocator = SlotAllocator(
            device.name, table, self._records, self._pool, self._dispatcher, self._quiescer, self._words
        )
        self._writer = SlotWriter(
            device, table, self._records, self._pool, self._dispatcher, self._allocator.check_address
        )
        super().__init__(device.name, device)  # whole: from now on the device closes it

    # --- allocation ---------------------------------------------------------------------------------------------------

    def allocate(
        self,
        *,
        exclusive: bool = False,
        masked: bool = False,
        cookie: object = None,
        pasid: int | None = None,
        any_pasid: bool = False,
        slot: int | None = None,
        vector: int | None = None,
    ) -> ImsInterrupt:
        """Allocate one slot with a donor's message in it, unmasked last unless ``masked``.

        Raises DeviceBusy when no slot or no vector is left, UnsupportedError where no donor can be had (the verdict
        says why), UsageError for what cannot be asked of this table.

        Args:
            exclusive: a donor that no other slot copies, so that ``fileno()`` can be had. Slots that share one may be
                moved for it, and their owners woken once.
            masked: leave the slot masked: a fire is held back until ``unmask``.
            cookie: anything, kept for the owner as ``ImsInterrupt.cookie``: a queue, a channel.
            pasid: whose work may raise the slot; None: work without a PASID. UnsupportedError where entries have none.
            any_pasid: all work may raise it.
            slot: exactly this one, which must be free.
            vector: a donor that is exactly this MSI-X vector; the slot then stays on it.
        """
        plain = exclusive is False and masked is False and any_pasid is False and cookie is None
        if plain and pasid is None and slot is None and vector is None:
            request = ANY
        else:
            request = Request(1, exclusive, masked, (cookie,), pasid, any_pasid, slot, vector)
        self._check_request(request)
        with self._lock:
            return self._make_interrupt(self._allocator.allocate(request)[0])

    def allocate_group(
        self,
        count: int,
        *,
        masked: bool = False,
        cookies: Sequence[object] | None = None,
        pasid: int | None = None,
        any_pasid: bool = False,
    ) -> ImsGroup:
        """Allocate ``count`` slots or none, spread over the shared donors, written in one compiled call.

        ``masked``, ``pasid`` and ``any_pasid`` are as for ``allocate``, and hold for all of them; ``cookies``: one
        each. Interrupt objects are made when they are asked for. Raises what ``allocate`` does.
        """
        request = Request(count, False, masked, cookies or (), pasid, any_pasid)
        self._check_request(request)
        with self._lock:
            return ImsGroup(self, self._allocator.allocate(request))

    def _check_request(self, request: Request) -> None:
        self.check_open("allocate slots")
        if self._dispatcher.fault is not None:
            raise self._dispatcher.fault
        if request is not ANY:
            request.check(self.table, self.label, self._vectors)

    def allocate_polled(self, *, slot: int | None = None, pasid: int | None = None) -> PolledSlot:
        """Allocate a slot that points at a word of our DMA memory: no interrupt, no donor, as many as there are slots.

        That silicon accepts such an address is inferred; the self-test finds out.
        """
        self.check_open("allocate a polled slot")
        Request(slot=slot, pasid=pasid).check(self.table, self.label, 0)
        with self._lock:
            return PolledSlot(self, self._records, *self._allocator.allocate_polled(slot, pasid))

    def allocate_polled_group(self, count: int, *, pasid: int | None = None) -> list[PolledSlot]:
        """Allocate ``count`` polled slots or none, written in one compiled call."""
        self.check_open("allocate polled slots")
        Request(count, pasid=pasid).check(self.table, self.label, 0)
        with self._lock:
            return [
                PolledSlot(self, self._records, *one) for one in self._allocator.allocate_polled_group(count, pasid)
            ]

    # --- allocated slots ----------------------------------------------------------------------------------------------

    def interrupt(self, slot: int) -> ImsInterrupt:
        """Return the interrupt of an allocated slot: always the same object."""
        with self._lock:
            made = self._dispatcher.interrupt(slot)
            if made is None and self._records.is_free(slot):
                raise ClosedError(f"use slot {slot}", device=self.label, why="it was closed")
            return made or self._make_interrupt(slot)

    def interrupts(self, slots: Sequence[int]) -> list[ImsInterrupt]:
        """Return the interrupts of allocated slots, as ``interrupt`` does each."""
        with self._lock:
            found = self._dispatcher.interrupts
            fresh = [slot for slot in dict.fromkeys(slots) if slot not in found]
            for slot in fresh:
                if self._records.is_free(slot):
                    raise ClosedError(f"use slot {slot}", device=self.label, why="it was closed")
            donors = self.donors_of(fresh)
            wakeups = self.hub.wakeups(len(fresh))
            made = [
                ImsInterrupt(self, self._records, slot, wakeup) for slot, wakeup in zip(fresh, wakeups, strict=True)
            ]
            self._dispatcher.add_many(made, donors)
            return [found[slot] for slot in slots]

    def _make_interrupt(self, slot: int) -> ImsInterrupt:
        donor = self.donor_of(slot)
        made = ImsInterrupt(self, self._records, slot, self.hub.wakeup())
        self._dispatcher.add(made, donor)
        return made

    def write(self, slot: int, message: Message, *, unsafe: bool = False) -> None:
        """Put ``message`` into an allocated slot, in its donor's place.

        It must be one of this device's own donors', or a write to its own DMA memory, else UsageError. ``unsafe`` takes
        any: the device may then write wherever the IOMMU lets it, and raise any interrupt of the host.
        """
        self.check_open("write a slot")
        with self._lock:
            self._writer.put(slot, message, unsafe=unsafe)

    def retarget(self, slots: Sequence[int], vectors: Sequence[int]) -> None:
        """Let the n-th of these allocated slots copy the donor on ``vectors[n]``; one compiled call."""
        self.check_open("retarget slots")
        size = self.table.size
        for slot in slots:
            if type(slot) is not int or not 0 <= slot < size:  # asked here: it is of every slot
                check_index(slot, size, "slot", "retarget slots", self.label)
        with self._lock:
            self._writer.retarget(slots, vectors)

    def set_masked(self, slot: int, masked: bool) -> None:
        """Mask or unmask an allocated slot; UnsupportedError where the table's entries have no mask."""
        with self._lock:
            self._writer.set_masked((slot,), masked)

    def set_all_masked(self, slots: Sequence[int], masked: bool) -> None:
        """Mask or unmask allocated slots in one compiled call; UnsupportedError where entries have no mask."""
        with self._lock:
            self._writer.set_masked(slots, masked)

    def release(self, slots: Sequence[int], closed_by: str) -> None:
        """Quiesce these slots, those still allocated, and give them back; nothing happens in a forked child.

        ``closed_by`` is named in the ClosedError that their owners get.
        """
        with self._lock:
            if self.closed or self.forked:
                return
            slots, quiesce = self._records.in_use(slots), self._callbacks.quiesce
            for slot in slots:
                quiesce(slot)
            self._allocator.take_back(slots, closed_by)

    # --- what is recorded ---------------------------------------------------------------------------------------------

    @property
    def callbacks(self) -> DriverCallbacks:
        """What serves the domain: the driver that made it."""
        return self._callbacks

    @property
    def allocated(self) -> list[int]:
        """The slots in use, ascending."""
        return self._records.allocated

    @property
    def donors(self) -> dict[int, Donor]:
        """The attached donors that this table may use, by vector, with the table's slots on each."""
        return self._pool.donors

    @property
    def eligible_vectors(self) -> tuple[int, ...]:
        """The vectors that may be donors of this table: all but the driver's reserved ones."""
        return self._pool.eligible

    def expected(self, slot: int) -> Slot:
        """Return what the entry of ``slot`` must hold now, as recorded."""
        return self._records.slot(slot)

    def donor_of(self, slot: int) -> Donor:
        """Return the donor that ``slot`` copies; UsageError where it copies none."""
        donor = self._records.donor[slot]
        if donor is None:
            raise UsageError(f"look up slot {slot}", device=self.label, why="it copies no donor")
        return donor

    def donors_of(self, slots: Sequence[int]) -> list[Donor]:
        """Return the donor that each of ``slots`` copies; UsageError where one copies none."""
        donors = [self._records.donor[slot] for slot in slots]
        return [donor or self.donor_of(slot) for slot, donor in zip(slots, donors, strict=True)]

    def vectors_of(self, slots: Sequence[int]) -> list[int]:
        """Return the vector of the donor that each of ``slots`` copies; UsageError where one copies none."""
        return [donor.vector for donor in self.donors_of(slots)]

    @property
    def settle(self) -> float:
        """Seconds after which an interrupt that has not arrived on this mount will not."""
        return self.device.port.settle

    # --- quiescing ----------------------------------------------------------------------------------------------------

    @property
    def quiet_entry(self) -> Slot:
        """What an entry holds while its slot is not in use: masked and zero, or ``scratch`` where it has no mask."""
        return self._quiescer.quiet()

    @property
    def scratch(self) -> Message:
        """A message that reaches only a word of DMA memory which is never read; maps it at first use."""
        return self._quiescer.scratch

    def quiesce(self, slots: Sequence[int]) -> None:
        """Write ``quiet_entry`` to these slots and read it back: DeviceError where one did not take it.

        The record stays: ``resync`` writes allocated slots again.
        """
        self.check_open("quiesce slots")
        with self._lock:
            self._quiescer.quiesce(slots)

    @property
    def fault(self) -> VfioImsError | None:
        """What every wait and allocation raises until the driver's ``reset``; None while nothing is wrong."""
        return self._dispatcher.fault

    # --- checks -------------------------------------------------------------------------------------------------------

    @property
    def needs_checks(self) -> bool:
        """Whether donors have to be checked: nothing remaps, so a vector that moves gets another message.

        While any owner waits that is done every ``CHECK_PERIOD`` seconds. So too while it is not known: a kernel shows
        it once a vector is attached.
        """
        return self.device.interrupts.donors.needs_checks

    def recheck(self, wakeup: Wakeup) -> bool:
        """Check the donors before a timeout is reported, and return whether ``wakeup`` was raised.

        Where nothing remaps interrupts, a moved vector may have left a slot stale.
        """
        if not self.needs_checks:
            return False
        self.check_open("check donors")
        self.device.interrupts.donors.refresh()
        return wakeup.take()

    def fail(self, error: VfioImsError) -> None:
        """Every wait and allocation raises ``error`` from now on, until a ``resync``: the slots are in doubt."""
        with self._lock:
            if not self.closed:
                self._dispatcher.fail(error)

    def check(self, *, most: int | None = None) -> list[int]:
        """See whether the device is as it was started, and rewrite the slots of donors whose message has changed.

        Their owners are woken once; returns the vectors that had moved. Raises DeviceError where the device was reset,
        sleeps or is lost, says how that shows, and fails every wait with it, until the driver's ``reset``. ``most``:
        look at so many slots' entries only, where it is asked often.
        """
        self.check_open("check the device")
        with self._lock:
            keeps = self._allocator.keeps
            found = find_fault(self.device, self.table, self._records, self._callbacks, keeps=keeps, most=most)
            if found is not None:
                self._dispatcher.fail(found)
                raise found
            self._dispatcher.recover()
            return self.device.interrupts.donors.refresh()

    def resync(self) -> None:
        """Write every slot from the record after a reset, in which the device lost them, and wake every owner once."""
        self.check_open("resync")
        with self._lock:
            self._dispatcher.recover()
            self.device.interrupts.donors.refresh()
            self._quiescer.quiesce(range(self.table.size))
            self._pool.quiesced()
            self._writer.rewrite(self._records.allocated)

    def report(self) -> DomainReport:
        """Every donor and every allocated slot, as recorded and as the device has it."""
        self.check_open("report")
        with self._lock:
            platform = self.device.port.message_platform()
            return report_of(self.label, self._records, self.table, self._pool.donors.values(), platform)

    def __repr__(self) -> str:
        if self.closed:
            return f"<ImsDomain of {self.label}, closed>"
        used, size, donors = len(self.allocated), self.table.size, len(self.donors)
        return f"<ImsDomain of {self.label}: {used} of {counted(size, 'slot')} allocated, {counted(donors, 'donor')}>"

    def _release(self) -> None:
        with self._lock:
            slots = self._records.allocated
            with ExitStack() as steps:  # last in, first out; each runs, whatever the one before it raised
                steps.callback(self._quiescer.close)
                steps.callback(self._words.close)
                steps.callback(self._pool.close)
                steps.callback(self._dispatcher.forget, slots, self._closed_by or "its domain")
                steps.callback(self._quiescer.quiesce, range(self.table.size))
                steps.callback(self._allocator.discharge, slots)
                for slot in slots:
                    steps.callback(self._callbacks.quiesce, slot)
