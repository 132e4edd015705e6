# SPDX-License-Identifier: Apache-2.0
"""The domain of one slot table: allocates slots, fills them with donors' messages, wakes their owners."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError, UsageError
from vfio_ims.ims.donors import Donor, DonorPool
from vfio_ims.ims.group import ImsGroup
from vfio_ims.ims.interrupt import ImsInterrupt
from vfio_ims.ims.parking import Parking
from vfio_ims.ims.polled import PolledSlot, PolledWords
from vfio_ims.ims.records import SlotRecords
from vfio_ims.ims.report import DomainReport, report_of
from vfio_ims.ims.table import ImsTable
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
        self.device, self.table, self._source = device, table, source
        self.hub = device.interrupts.hub
        self.records = SlotRecords(table.size, device.name)
        self._lock = threading.RLock()
        self._interrupts: dict[int, ImsInterrupt] = {}
        self._early: set[int] = set()  # fired before anybody held their interrupt
        self._checked = device.port.interrupt_remapping().answer is False
        self.parking = Parking(device, table)
        self._words = PolledWords(device)
        msix = device.interrupts.msix
        self.pool = DonorPool(msix, self.hub, self._arrived, reserved=reserved, limits=table.limits, device=device.name)
        try:
            self.parking.quiesce(range(table.size))
        except BaseException:
            self.parking.close()
            raise
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
        group = self._allocate(1, exclusive, masked, (cookie,), pasid, ignore, slot, vector)
        return group[0]

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
        if cookies is not None and len(cookies) != count:
            why = f"there must be one cookie a slot, {count}, not {len(cookies)}"
            raise UsageError("allocate a group of slots", device=self.label, why=why)
        return self._allocate(count, False, masked, cookies or (), pasid, ignore, None, None)

    def _allocate(
        self,
        count: int,
        exclusive: bool,
        masked: bool,
        cookies: Sequence[object],
        pasid: int | None,
        ignore: bool,
        slot: int | None,
        vector: int | None,
    ) -> ImsGroup:
        self.check_open("allocate slots")
        if pasid is not None and not self.table.has_pasid:
            raise UnsupportedError(
                "allocate a slot for a PASID", device=self.label, why="the table's entries have none"
            )
        if masked and not self.table.has_mask:
            raise UnsupportedError("allocate a masked slot", device=self.label, why="the table's entries have no mask")
        with self._lock:
            slots = self.records.take(count, slot)
            try:
                if vector is not None:
                    donors = [self.pool.vector(vector)]
                elif exclusive:
                    donors = [self.pool.exclusive()]
                else:
                    donors = self.pool.shared(count)
                self._set_up(slots, donors, masked, cookies, pasid, ignore)
            except BaseException:
                self._take_back(slots)
                raise
        return ImsGroup(self, slots)

    def _set_up(
        self,
        slots: Sequence[int],
        donors: Sequence[Donor],
        masked: bool,
        cookies: Sequence[object],
        pasid: int | None,
        ignore: bool,
    ) -> None:
        records = self.records
        self.parking.discharge(slots)
        records.set_donors(slots, donors)
        records.set_masked(slots, masked)
        for index, cookie in zip(slots, cookies, strict=False):
            if cookie is not None:
                records.cookie[index] = cookie
        if pasid is not None:
            records.pasid.update(dict.fromkeys(slots, pasid))
        if ignore:
            records.ignore.update(slots)
        self.table.write_pattern(slots, [records.slot(index) for index in slots[: len(donors)]])

    def allocate_polled(self, *, slot: int | None = None, pasid: int | None = None) -> PolledSlot:
        """A slot that points at a word of our DMA memory: no interrupt, no donor, as many as the table has slots.

        That silicon accepts such an address is inferred; the self-test finds out.
        """
        self.check_open("allocate a polled slot")
        with self._lock:
            slots = self.records.take(1, slot)
            try:
                self.parking.discharge(slots)
                word = self._words.take()
                self.records.message[slots[0]] = word.message
                self.records.set_masked(slots, False)
                others = tuple(donor.message for donor in self.pool.donors.values())
                why = self.table.limits.refusal(word.message, others)
                if why is not None:
                    raise UnsupportedError("point a slot at memory", device=self.label, why=why)
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
            if not 0 <= slot < self.table.size or self.records.is_free(slot):
                raise UsageError("write a slot", device=self.label, why=f"slot {slot} is not allocated")
            if not unsafe and not self._is_ours(message):
                raise UsageError(
                    f"write slot {slot}",
                    device=self.label,
                    why=f"{message} is neither of a vector of this device nor of its DMA memory",
                    hint="unsafe=True lets the device write there all the same",
                )
            donor = self.records.donor[slot]
            if donor is not None:
                donor.leave([slot])
                self.records.donor[slot] = None
            self.records.message[slot] = message
            self.table.write(slot, self.records.slot(slot))

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
        with self._lock:
            donors = {vector: self.pool.vector(vector) for vector in set(vectors)}
            groups: dict[int, list[int]] = {}
            for slot, vector in zip(slots, vectors, strict=True):
                groups.setdefault(vector, []).append(slot)
            for donor in {id(d): d for slot in slots if (d := self.records.donor[slot]) is not None}.values():
                donor.leave(slots)
            for vector, members in groups.items():
                self.records.set_donors(members, [donors[vector]])
                for slot in members:
                    if slot in self._interrupts:
                        donors[vector].watch(slot, self._interrupts[slot].wakeup)
            self.table.write_many([(slot, self.records.slot(slot)) for slot in slots])

    # --- what interrupts and groups call ------------------------------------------------------------------------------

    def interrupt(self, slot: int) -> ImsInterrupt:
        """The interrupt of an allocated slot."""
        with self._lock:
            found = self._interrupts.get(slot)
            if found is None:
                donor = self.donor_of(slot)
                wakeup = self.hub.wakeup()
                found = self._interrupts[slot] = ImsInterrupt(self, slot, wakeup)
                donor.watch(slot, wakeup)
                if donor.count and slot in self._early:  # it fired before anybody held it
                    self._early.discard(slot)
                    wakeup.wake()
            return found

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

    def set_all_masked(self, slots: Sequence[int], masked: bool) -> None:
        if not self.table.has_mask:
            raise UnsupportedError("mask slots", device=self.label, why="the table's entries have no mask")
        with self._lock:
            self.records.set_masked(slots, masked)
            self.table.write_many([(slot, self.records.slot(slot)) for slot in slots])

    def release(self, slots: Sequence[int], who: str) -> None:
        """Quiesce these slots, those still allocated, and give them back."""
        with self._lock:
            if self.closed:
                return
            slots = [slot for slot in slots if not self.records.is_free(slot)]
            for slot in slots:
                self._source.quiesce(slot)
            self._take_back(slots, who)

    def _take_back(self, slots: Sequence[int], who: str = "a failed allocation") -> None:
        if not slots:
            return
        try:
            self.parking.quiesce(slots)
            self.parking.discharge(slots)
        finally:
            for slot in slots:
                held = self._interrupts.pop(slot, None)
                if held is not None:
                    held.mark_closed(who)
                word = self.records.message.get(slot)
                if word is not None:
                    self._words.give_back(word)
            self._early.difference_update(slots)
            self.records.give_back(slots)

    # --- events -------------------------------------------------------------------------------------------------------

    def _arrived(self, donor: Donor, count: int) -> None:
        """A donor's event: one or more of its slots may have fired. Runs in whatever thread drains the hub."""
        donor.count += count
        fired = self._source.fired(donor.unmasked(self.records.masked)) if not donor.exclusive else None
        for wakeup in donor.wakeups(fired):
            wakeup.wake()
        if fired is None:
            self._early.update(slot for slot in donor.slots() if slot not in self._interrupts)
        else:
            self._early.update(slot for slot in fired if slot not in self._interrupts)

    def recheck(self, wakeup: Wakeup) -> bool:
        """Before a timeout is reported: where nothing remaps interrupts, a moved vector may have left a slot stale."""
        return self._checked and bool(self.check()) and wakeup.take()

    # --- upkeep -------------------------------------------------------------------------------------------------------

    @cached_property
    def needs_checks(self) -> bool:
        """Whether ``check`` has to run now and then: nothing remaps, so a vector that moves changes its message."""
        return self._checked

    def check(self) -> list[int]:
        """Compare every donor's message with its slots'; rewrite those of donors that changed, together, and wake their

        owners once. Returns the vectors that had moved.
        """
        self.check_open("check donors")
        with self._lock:
            changed = self.pool.reread()
            for donor in changed:
                self._rewrite(donor.slots())
            return [donor.vector for donor in changed]

    def resync(self) -> None:
        """After a reset: the device has lost its slots. Write them all from our record, then wake every waiter once."""
        self.check_open("resync")
        with self._lock:
            self.pool.reread()
            self.parking.quiesce(range(self.table.size))
            self._rewrite(self.records.allocated)

    def _rewrite(self, slots: Sequence[int]) -> None:
        """All masked with their message, then unmasked, then every waiter woken: a fire meanwhile pends or is found."""
        entries = [(slot, self.records.slot(slot)) for slot in slots]
        if self.table.has_mask:
            self.table.write_many([(slot, entry.with_mask(True)) for slot, entry in entries])
        self.table.write_many(entries)
        for slot in slots:
            if slot in self._interrupts:
                self._interrupts[slot].wakeup.wake()
        self.hub.kick()

    def report(self) -> DomainReport:
        """Every donor and every allocated slot, as recorded and as the device has it."""
        self.check_open("report")
        with self._lock:
            return report_of(self)

    def _release(self) -> None:
        with self._lock:
            slots = self.records.allocated
            try:
                for slot in slots:
                    self._source.quiesce(slot)
                self.parking.quiesce(range(self.table.size))
                self.parking.discharge(slots)
            finally:
                for held in self._interrupts.values():
                    held.mark_closed("its domain")
                self._interrupts.clear()
                self.pool.close()
                self._words.close()
                self.parking.close()
        self.hub.kick()
