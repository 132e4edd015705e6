# SPDX-License-Identifier: Apache-2.0
"""The domain of one slot table: allocates slots, fills them with donors' messages, wakes their owners."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError, UsageError, VfioImsError, check_index
from vfio_ims.ims import upkeep
from vfio_ims.ims.donors import Donor, TableDonors
from vfio_ims.ims.group import ImsGroup
from vfio_ims.ims.health import fault_of
from vfio_ims.ims.interrupt import ImsInterrupt
from vfio_ims.ims.parking import Parking
from vfio_ims.ims.polled import PolledSlot, PolledWords
from vfio_ims.ims.records import SlotRecords
from vfio_ims.ims.report import DomainReport, report_of
from vfio_ims.ims.request import Request
from vfio_ims.ims.table import ImsTable
from vfio_ims.ims.waking import Waking
from vfio_ims.interruption import break_off
from vfio_ims.lifetime import Owner
from vfio_ims.messages import Message

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ims.source import ImsSource
    from vfio_ims.interrupts import Wakeup

__all__ = ["ImsDomain"]


class ImsDomain(Owner):
    """Allocates from ``table``, singly or in groups, concurrently. Made by a driver; safe for several threads.

    Making it quiesces every slot of the table; closing it does so again and then detaches the donors. ``reserved``
    vectors are never donors. Linux's former IMS API is the yardstick: indices need not be consecutive, a cookie goes
    with each, entries are written masked and unmasked last, a closed slot is left masked and zeroed.
    """

    def __init__(self, device: Device, table: ImsTable, source: ImsSource, *, reserved: Collection[int] = ()) -> None:
        self.device, self.table, self.source = device, table, source
        self.hub = device.interrupts.hub
        self.records = SlotRecords(table.size, device.name)
        self._lock = device.interrupts.donors.lock  # the device's: one table's slots are moved for another's sake
        self.waking = Waking(self, table.size)
        self.keeps: bool | None = None
        """Whether entries read back as they were written; None until the first was."""
        self.fault: VfioImsError | None = None
        """What ``check`` found wrong with the device; None while nothing is, and after ``resync``."""
        self.parking = Parking(device, table)
        self._words = PolledWords(device)
        try:
            self.parking.quiesce(range(table.size))
        except BaseException:
            self.parking.close()
            raise
        self.pool = TableDonors(
            device.interrupts.donors,
            table,
            self.waking.arrived,
            reserved=reserved,
            others=self.records.message.values,
            move=self._copy,
            rewrite=lambda slots: upkeep.rewrite(self, slots),
            fail=self.fail,
            device=device.name,
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
        ignore: bool = False,
        slot: int | None = None,
        vector: int | None = None,
    ) -> ImsInterrupt:
        """One slot with a donor's message in it, unmasked last unless ``masked``.

        ``exclusive``: a donor that no other slot copies, so that ``fileno()`` can be had. ``pasid``: whose work may
        raise it; ``ignore``: anybody's. ``slot``, ``vector``: exactly these. DeviceBusy when there is none left,
        UnsupportedError where no donor can be had (the verdict says why).
        """
        request = Request(1, exclusive, masked, (cookie,), pasid, ignore, slot, vector)
        return self._allocate(request)[0]

    def allocate_group(
        self,
        count: int,
        *,
        masked: bool = False,
        cookies: Sequence[object] | None = None,
        pasid: int | None = None,
        ignore: bool = False,
    ) -> ImsGroup:
        """``count`` slots or none, spread over the shared donors, written in one compiled call.

        ``cookies``: one each. Interrupt objects are made when they are asked for.
        """
        return self._allocate(Request(count, False, masked, cookies or (), pasid, ignore))

    def _allocate(self, request: Request) -> ImsGroup:
        self.check_open("allocate slots")
        if self.fault is not None:
            raise self.fault
        request.check(self.table, self.label, self.device.interrupts.msix.count)
        with self._lock:
            slots = self.records.take(request.count, request.slot)
            try:
                self._set_up(slots, self._donors_for(request), request)
                if request.vector is not None:
                    self.pool.pinned.update(slots)
                break_off()  # Ctrl-C: rather now than when nobody has the slots yet
            except BaseException:
                self._take_back(slots)
                raise
        return ImsGroup(self, slots)

    def _donors_for(self, request: Request) -> list[Donor]:
        if request.vector is not None:
            return [self.pool.vector(request.vector)]
        return [self.pool.exclusive()] if request.exclusive else self.pool.shared(request.count)

    def _set_up(self, slots: Sequence[int], donors: Sequence[Donor], request: Request) -> None:
        """Record, then write: masked, the message, unmasked last."""
        records, neighbour = self.records, self._neighbour(slots)
        self._check_address(slots, donors[0].message, neighbour)
        self.parking.discharge(slots, neighbour, donors[0].message)
        records.set_donors(slots, donors)
        records.set_masked(slots, request.masked)
        records.set_owners(slots, request.cookies, request.pasid, ignore=request.ignore)
        self.waking.born(slots)
        self.table.write_pattern(slots, [records.slot(index) for index in slots[: len(donors)]])
        if self.keeps is None:  # what the device does not keep at first tells nothing later
            self.keeps = self.table.read(slots[0]) == records.slot(slots[0])

    def _neighbour(self, slots: Sequence[int]) -> Message | None:
        """Where all entries share one address: the message of a slot beside ``slots`` that is in use, if one is."""
        beside = self.records.message_beside(slots) if self.table.limits.one_address else None
        return None if beside is None else beside[1]

    def _check_address(self, slots: Sequence[int], message: Message, neighbour: Message | None) -> None:
        """UnsupportedError where ``message`` would change the address that slots in use share, or cannot be held."""
        why = self.table.limits.refusal(message, () if neighbour is None else (neighbour,))
        if why is not None:
            hint = "" if neighbour is None else "close the other slots first"
            raise UnsupportedError(f"point slot {slots[0]} at {message}", device=self.label, why=why, hint=hint)

    def allocate_polled(self, *, slot: int | None = None, pasid: int | None = None) -> PolledSlot:
        """A slot that points at a word of our DMA memory: no interrupt, no donor, as many as the table has slots.

        That silicon accepts such an address is inferred; the self-test finds out.
        """
        self.check_open("allocate a polled slot")
        Request(slot=slot, pasid=pasid).check(self.table, self.label, 0)
        with self._lock:
            slots = self.records.take(1, slot)
            try:
                word, neighbour = self._words.take(), self._neighbour(slots)
                self.records.message[slots[0]] = word.message
                self._check_address(slots, word.message, neighbour)
                self.parking.discharge(slots, neighbour)
                self.records.set_masked(slots, False)
                if pasid is not None:
                    self.records.pasid[slots[0]] = pasid
                self.table.write(slots[0], self.records.slot(slots[0]))
            except BaseException:
                self._take_back(slots)
                raise
        return PolledSlot(self, slots[0], word)

    def write(self, slot: int, message: Message, *, unsafe: bool = False) -> None:
        """Put ``message`` into an allocated slot, in its donor's place.

        It must be one of this device's own donors', or a write to its own DMA memory, else UsageError. ``unsafe`` takes
        any: the device may then write wherever the IOMMU lets it, and raise anybody's interrupt.
        """
        self.check_open("write a slot")
        with self._lock:
            if not isinstance(slot, int):
                check_index(slot, self.table.size, "slot", "write a slot", self.label)
            if not isinstance(message, Message):
                why = f"message must be a Message(address, data), not {message!r}"
                raise UsageError("write a slot", device=self.label, why=why)
            if not 0 <= slot < self.table.size or self.records.is_free(slot):
                raise UsageError("write a slot", device=self.label, why=f"slot {slot} is not allocated")
            if not unsafe and not self._is_ours(message):
                raise UsageError(
                    f"write slot {slot}",
                    device=self.label,
                    why=f"{message} is neither of a vector of this device nor of its DMA memory",
                    hint="unsafe=True lets the device write there all the same",
                )
            self._check_address([slot], message, self._neighbour([slot]))
            before = self.records.donor[slot]
            copied = next((donor for donor in self.pool.donors.values() if donor.message == message), None)
            if copied is not None:
                self._copy([slot], [copied])  # it is that donor's slot from now on, and follows it
                return
            self.records.donor[slot] = None
            self.records.message[slot] = message
            self.table.write(slot, self.records.slot(slot))
            if before is not None:
                before.leave([slot])
                self.pool.settle()

    def _copy(self, slots: Sequence[int], donors: Sequence[Donor]) -> None:
        """Let the n-th of these slots copy donor n modulo their number: rewritten masked, their owners woken."""
        before = self.records.donors_of(slots)
        self.records.set_donors(slots, donors)
        for slot in slots:
            self.records.message.pop(slot, None)
        for donor in before:
            donor.leave([slot for slot in slots if self.records.donor[slot] is not donor])
        for slot in slots:
            donor_now = self.records.donor[slot]
            if donor_now is not None:
                self.waking.rejoin(slot, donor_now)
        upkeep.rewrite(self, slots)
        self.pool.settle()

    def _is_ours(self, message: Message) -> bool:
        if any(message == donor.message for donor in self.pool.donors.values()):
            return True
        try:
            buffer, offset = self.device.dma.find(message.address)
        except UsageError:
            return False
        return offset + 4 <= buffer.size

    def retarget(self, slots: Sequence[int], vectors: Sequence[int]) -> None:
        """Let the n-th of these allocated slots copy the donor on ``vectors[n]``; one compiled call."""
        self.check_open("retarget slots")
        for slot in slots:
            check_index(slot, self.table.size, "slot", "retarget slots", self.label)
        with self._lock:
            donors = {vector: self.pool.vector(vector) for vector in set(vectors)}
            groups: dict[int, list[int]] = {}
            for slot, vector in zip(slots, vectors, strict=True):
                groups.setdefault(vector, []).append(slot)
            before = self.records.donors_of(slots)
            for vector, members in groups.items():
                self.records.set_donors(members, [donors[vector]])
                for slot in members:
                    self.waking.rejoin(slot, donors[vector])
            for donor in before:
                donor.leave([slot for slot in slots if self.records.donor[slot] is not donor])
            self.table.write_many([(slot, self.records.slot(slot)) for slot in slots])
            self.pool.pinned.update(slots)
            self.pool.settle()

    # --- what interrupts and groups call ------------------------------------------------------------------------------

    def interrupt(self, slot: int) -> ImsInterrupt:
        """The interrupt of an allocated slot."""
        with self._lock:
            return self.waking.interrupt(slot)

    def donor_of(self, slot: int) -> Donor:
        donor = self.records.donor[slot]
        if donor is None:
            raise UsageError(f"look up slot {slot}", device=self.label, why="it copies no donor")
        return donor

    def set_masked(self, slot: int, masked: bool) -> None:
        if not self.table.has_mask:
            raise UnsupportedError(f"mask slot {slot}", device=self.label, why="the table's entries have no mask")
        with self._lock:
            self.records.set_masked((slot,), masked)
            self.table.write_control(slot, self.records.slot(slot))
            if masked:
                self.waking.masked((slot,))

    def set_all_masked(self, slots: Sequence[int], masked: bool) -> None:
        if not self.table.has_mask:
            raise UnsupportedError("mask slots", device=self.label, why="the table's entries have no mask")
        with self._lock:
            self.records.set_masked(slots, masked)
            self.table.write_many([(slot, self.records.slot(slot)) for slot in slots])
            if masked:
                self.waking.masked(slots)

    def release(self, slots: Sequence[int], who: str) -> None:
        """Quiesce these slots, those still allocated, and give them back. In a forked child nothing happens."""
        with self._lock:
            if self.closed or self.forked:
                return
            slots = [slot for slot in slots if not self.records.is_free(slot)]
            for slot in slots:
                self.source.quiesce(slot)
            self._take_back(slots, who)

    def _take_back(self, slots: Sequence[int], who: str = "a failed allocation") -> None:
        if not slots:
            return
        neighbour = self._neighbour(slots)
        try:
            self.parking.discharge(slots, neighbour, self.records.slot(slots[0]).message or None)
            self.parking.quiesce(slots, neighbour)
        except BaseException:
            self.pool.not_quiesced(donor.vector for donor in self.records.donors_of(slots))
            raise
        finally:
            self.waking.forget(slots, who)
            for message in (self.records.message.get(slot) for slot in slots):
                if message is not None:
                    self._words.give_back(message)
            self.records.give_back(slots)
            self.pool.pinned.difference_update(slots)
            self.pool.settle()

    # --- upkeep -------------------------------------------------------------------------------------------------------

    @property
    def needs_checks(self) -> bool:
        """Whether donors have to be checked: nothing remaps, so a vector that moves gets another message.

        While any owner waits that is done every ``CHECK_PERIOD`` seconds. So too while it is not known: a kernel shows
        it once a vector is attached.
        """
        return self.device.interrupts.donors.needs_checks

    def recheck(self, wakeup: Wakeup) -> bool:
        """Before a timeout is reported: where nothing remaps interrupts, a moved vector may have left a slot stale."""
        if not self.needs_checks:
            return False
        self.check_open("check donors")
        self.device.interrupts.donors.refresh()
        return wakeup.take()

    def fail(self, error: VfioImsError) -> None:
        """Every wait and allocation raises ``error`` from now on, until a ``resync``: the slots are in doubt."""
        with self._lock:
            if self.fault is None and not self.closed:
                self.fault = error
                self.waking.fail(error)

    def check(self, *, most: int | None = None) -> list[int]:
        """See whether the device is still as it was started, and compare every donor's message with its slots'; rewrite

        those of donors that changed, together, and wake their owners once. Returns the vectors that had moved. Raises
        DeviceError where the device was reset, sleeps or is lost, says how that shows, and fails every wait with it,
        until the driver's ``reset``. ``most``: look at so many slots' entries only, where it is asked often.
        """
        self.check_open("check the device")
        with self._lock:
            found = fault_of(self, most)
            if found is not None:
                if self.fault is None:
                    self.fault = found
                    self.waking.fail(found)
                raise found
            self._recover()
            return self.device.interrupts.donors.refresh()

    def _recover(self) -> None:
        if self.fault is not None:
            self.waking.recover(self.fault)
            self.fault = None

    def resync(self) -> None:
        """After a reset: the device has lost its slots. Write them all from our record, then wake every waiter once."""
        self.check_open("resync")
        with self._lock:
            self._recover()
            upkeep.resync(self)

    def report(self) -> DomainReport:
        """Every donor and every allocated slot, as recorded and as the device has it."""
        self.check_open("report")
        with self._lock:
            return report_of(self)

    def __repr__(self) -> str:
        if self.closed:
            return f"<ImsDomain of {self.label}, closed>"
        used, size, donors = len(self.records.allocated), self.table.size, len(self.pool.donors)
        return f"<ImsDomain of {self.label}: {used} of {size} slots allocated, {donors} donors>"

    def _release(self) -> None:
        with self._lock:
            slots = self.records.allocated
            with ExitStack() as steps:  # last in, first out; each runs, whatever the one before it raised
                steps.callback(self.parking.close)
                steps.callback(self._words.close)
                steps.callback(self.pool.close)
                steps.callback(self.waking.forget, slots, self._closed_by or "its domain")
                steps.callback(self.parking.quiesce, range(self.table.size))
                steps.callback(self.parking.discharge, slots)
                for slot in slots:
                    steps.callback(self.source.quiesce, slot)
