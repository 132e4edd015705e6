# SPDX-License-Identifier: Apache-2.0
"""The device in software."""

from vfio_ims.models import ModelBar, Msix, SlotStore, StoreModel

from .registers import SLOTS, STORE, Bar0


class ClearingSlots(SlotStore):
    """A slot whose message is turned to memory clears the address of the one whose number differs in bit 0."""

    def store(self, offset: int, data: bytes) -> list[int]:
        index = offset // SLOTS.stride
        interrupted = self._interrupts(index)
        touched = super().store(offset, data)
        if interrupted and not self._interrupts(index):
            super().store((index ^ 1) * SLOTS.stride, bytes(8))
        return touched

    def _interrupts(self, index: int) -> bool:
        return self.slot(index).message.address >> 20 == 0xFEE


class MasklessModel(StoreModel):
    """5 MSI-X vectors, 24 slots."""

    id = "1234:5a04"
    msix = Msix(vectors=5, bar=0, table=0x2000, pba=0x3000)
    bars = {0: ModelBar(0x4000, Bar0)}
    store = STORE
    own_defects = ("clears-neighbour",)

    @property
    def store_kind(self) -> type[SlotStore]:
        return ClearingSlots if self.option["defect"] == "clears-neighbour" else super().store_kind
