# SPDX-License-Identifier: Apache-2.0
"""The model of a described store: masks, pending bits, shared addresses and sources behave as the store says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar

from vfio_ims.messages import FireStatus
from vfio_ims.models.contexts import Contexts
from vfio_ims.models.model import DeviceModel
from vfio_ims.models.plain import PlainAccess
from vfio_ims.registers import Doorbell, SlotLayout, Store

__all__ = ["StoreModel"]


class StoreModel(DeviceModel):
    """A function with what ``store`` describes. A subclass declares ``id``, ``msix``, ``bars`` and ``store``.

    The writes that the store describes are taken beside the hooks of registers that the subclass declares. A slot with
    a source (``arm``) sends only while that is on. Override ``fire`` for what the device does with a raised slot.
    """

    store: ClassVar[Store]
    reads_are_plain = True

    def __init__(self, name: str = "", **given: str | int | bool) -> None:
        self.armed: set[int] = set()
        """Slots whose source is on."""
        super().__init__(name, **given)
        context = self.store.context
        self.contexts = None if context is None else Contexts(context, self.slots, lambda: self.bus)

    def slot_layouts(self) -> Sequence[SlotLayout]:
        return self.store.tables

    def shown_defects(self) -> set[str]:
        shown, context = super().shown_defects(), self.store.context
        if context is not None and context.load is None:  # what the device does to its copy is undone at the next fire
            shown -= {"alias", "clears-neighbour"}
        return shown

    def fire(self, slot: int) -> FireStatus:
        """Raise ``slot``, a number within the tables, once."""
        if self.contexts is not None:
            return self.contexts.fire(slot)
        for table in self.tables:
            if slot < table.layout.count:
                return table.fire(slot)
            slot -= table.layout.count
        return FireStatus.REFUSED

    def read(self, region: int, offset: int, size: int) -> bytes:
        """Answer a read of ``size`` bytes at ``offset`` of ``region``.

        The context's registers come before those of the model.
        """
        own = None if self.contexts is None or self.config.asleep else self.contexts.read(region, offset, size)
        return super().read(region, offset, size) if own is None else own

    def plain_access(self, region: int, excluded: range) -> PlainAccess | None:
        """As every model's, where no context is declared: the registers of one come first."""
        return None if self.contexts is not None else super().plain_access(region, excluded)

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Take a write of ``data`` at ``offset`` of ``region``; a store's doorbells in it are answered in ``act``."""
        super().write(region, offset, data)
        if self.config.asleep or not 0 <= region < 6:
            return
        if self.contexts is not None:
            self.contexts.write(region, offset, data)
        value = int.from_bytes(data, "little")
        for doorbell, answer in self._answers:
            if doorbell is not None:
                count = self.store.count if doorbell is not self.store.fire_vector else self._vectors
                for number in doorbell.slots(region, offset, value, count):
                    self.after(answer, number)

    @cached_property
    def _answers(self) -> Sequence[tuple[Doorbell | None, Callable[[int], object]]]:
        """What each write that the store describes sets off."""
        store = self.store
        return (
            *([] if self.contexts is None else self.contexts.answers()),
            (store.reset, lambda _: self.reset()),
            (store.arm, self.armed.add),
            (store.disarm, self.armed.discard),
            (store.fire, self._fire_armed),
            (store.fire_vector, self.raise_vector),
        )

    @property
    def _vectors(self) -> int:
        return 0 if self.msix is None else self.msix.vectors

    def _fire_armed(self, slot: int) -> None:
        if self.store.arm is None or slot in self.armed:
            self.fire(slot)

    def reset(self) -> None:
        super().reset()
        self.armed.clear()
        if self.contexts is not None:
            self.contexts.reset()
