# SPDX-License-Identifier: Apache-2.0
"""The device in software."""

from vfio_ims.errors import BusFault
from vfio_ims.messages import FireStatus
from vfio_ims.models import DeviceModel, ModelBar, Msix, SlotStore, on_write

from .registers import ENTRY, Bar0


class ContextModel(DeviceModel):
    """5 MSI-X vectors, 16 contexts, which it keeps apart from the memory that they were loaded from."""

    id = "1234:5a03"
    msix = Msix(vectors=5, bar=0, table=0x2000, pba=0x3000)
    bars = {0: ModelBar(0x4000, Bar0)}
    own_defects = ("clears-neighbour",)

    def configure(self) -> None:
        self.contexts = SlotStore(ENTRY, self.send)
        self.enabled = False

    def _load(self, slot: int) -> bool:
        bus = self.bus
        if bus is None or slot >= ENTRY.count:
            return False
        try:
            entry = bus.read(self.registers().get(Bar0.BASE) + slot * ENTRY.stride, ENTRY.stride)
        except BusFault:
            return False
        self.contexts.store(slot * ENTRY.stride, entry)
        self.contexts.discharge(slot)
        return True

    def _answer(self, good: bool, outcome: FireStatus | None = None) -> None:
        pended, refused = outcome is FireStatus.PENDING, outcome is FireStatus.REFUSED or not good
        self.registers().set(Bar0.STATUS, enabled=self.enabled, fault=not good, pended=pended, refused=refused)

    @on_write(Bar0.ENABLE)
    def enable(self, _: int) -> None:
        loaded = [self._load(slot) for slot in range(ENTRY.count)]
        self.enabled = all(loaded)
        self._answer(self.enabled)

    @on_write(Bar0.LOAD)
    def load(self, slot: int) -> None:
        good = self.enabled and self._load(slot)
        if good and self.option["defect"] == "clears-neighbour" and not self.contexts.slot(slot).message:
            self.contexts.store((slot ^ 1) * ENTRY.stride, bytes(8))
        self._answer(good)

    @on_write(Bar0.SHOW)
    def show(self, slot: int) -> None:
        good = self.enabled and slot < ENTRY.count
        if good:
            words = self.contexts.words(slot)
            for register, word in zip((Bar0.LOW, Bar0.HIGH, Bar0.DATA, Bar0.CONTROL), words, strict=True):
                self.registers().set(register, word)
        self._answer(good)

    @on_write(Bar0.FIRE)
    def fire(self, slot: int) -> None:
        good = self.enabled and slot < ENTRY.count
        self._answer(good, self.contexts.fire(slot) if good else None)

    @on_write(Bar0.FIRE_VECTOR)
    def fire_vector(self, vector: int) -> None:
        self.raise_vector(vector)

    @on_write(Bar0.RESET)
    def restart(self, _: int) -> None:
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.contexts.reset()
        self.enabled = False
