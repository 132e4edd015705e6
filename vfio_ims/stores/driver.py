# SPDX-License-Identifier: Apache-2.0
"""A driver over a described store: all that a family needs whose device does nothing but raise slots on request."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from vfio_ims.driver import Driver, FireReport
from vfio_ims.errors import DeviceError, UnsupportedError, check_index
from vfio_ims.ims import ContextTable, FireStatus, ImsTable, JoinedTable, SlotArray
from vfio_ims.registers import Doorbell, Store

if TYPE_CHECKING:
    from vfio_ims.device import Device

__all__ = ["StoreDriver", "check_identity", "store_driver"]


class StoreDriver(Driver):
    """Drives what ``store`` describes. A subclass names the store, and overrides what its device does differently.

    ``fire`` arms the slot's source where the store says how, and tells pending from sent by the pending bit of the
    table; ``quiesce`` disarms it. ``start`` resets. All that as far as the store says how; the identity is checked
    before anything is written.
    """

    store: ClassVar[Store]

    def __init_subclass__(cls, **given: object) -> None:
        super().__init_subclass__(**given)
        if "store" in cls.__dict__:
            cls.reserved_vectors = cls.store.reserved_vectors

    def start(self) -> None:
        self.stop()
        if isinstance(self.table, ContextTable):
            self.table.enable()

    @cached_property
    def table(self) -> ImsTable:
        """The store's tables as one, on the device that the store is of: before anything is written to it."""
        check_identity(self.device, self.store)
        tables, context = self.store.tables, self.store.context
        if context is not None:
            return ContextTable(self.device, tables[0], context)
        parts = [SlotArray(self.device, layout) for layout in tables]
        return parts[0] if len(parts) == 1 else JoinedTable(parts)

    def ims_table(self) -> ImsTable:
        return self.table

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        check_index(slot, self.store.count, "slot", "fire a slot", self.label)
        if self.store.fire is None:
            why, hint = "its store's description does not say how (fire)", "describe the write, or write a driver"
            raise UnsupportedError(f"fire slot {slot}", device=self.label, why=why, hint=hint)
        if pasid is not None:
            why = "the device's work carries no PASID"
            raise UnsupportedError(f"fire slot {slot} for PASID {pasid}", device=self.label, why=why)
        with self.lock:
            self._ring(self.store.arm, slot)
            self._ring(self.store.fire, slot)
            return self._outcome(slot)

    def _outcome(self, slot: int) -> FireReport:
        """What the entry says after a fire, which also flushes the write: reads of it are known to be harmless."""
        if isinstance(self.table, ContextTable):
            self.table.flush()
        if not self.table.has_pending:
            held = self.table.read(slot).masked
            return FireReport(FireStatus.REFUSED, "masked, no pending bit") if held else FireReport(FireStatus.SENT)
        pending = self.table.pending(slot)
        return FireReport(FireStatus.PENDING if pending else FireStatus.SENT, "as its pending bit has it")

    def fire_vector(self, vector: int) -> None:
        if self.store.fire_vector is None:
            why = "its store's description does not say how (fire_vector)"
            raise UnsupportedError(f"fire vector {vector}", device=self.label, why=why)
        self._ring(self.store.fire_vector, vector)

    def quiesce(self, slot: int) -> None:
        self._ring(self.store.disarm, slot)

    def stop(self) -> None:
        if isinstance(self.table, ContextTable):
            self.table.disable()
        self._ring(self.store.reset, 0)

    def _ring(self, doorbell: Doorbell | None, slot: int) -> None:
        """The write that concerns ``slot``, where the store has one."""
        if doorbell is not None:
            at, value = doorbell.access(slot)
            getattr(self.device.bar(doorbell.bar), f"write{doorbell.width}")(at, value)


def check_identity(device: Device, store: Store) -> None:
    """Raise DeviceError where ``device`` is another than ``store`` describes. One read, or none; nothing is changed."""
    identity = store.identity
    if identity is None:
        return
    found = device.bar(identity.bar).read32(identity.offset)
    if found != identity.value:
        place = f"BAR {identity.bar} reads {found:#x} at {identity.offset:#x}"
        why = f"{place}, a {store.title or 'device of this kind'} {identity.value:#x}"
        raise DeviceError("identify the device", device=device.name, why=why, hint="is this the description's device?")


def store_driver(store: Store) -> type[StoreDriver]:
    """A driver's class for any device that has ``store``: ``store_driver(read_store("my.toml")).open(name)``."""
    return type("DescribedStore", (StoreDriver,), {"store": store})
