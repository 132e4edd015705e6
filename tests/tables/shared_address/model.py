# SPDX-License-Identifier: Apache-2.0
"""The device in software."""

from vfio_ims.models import DeviceModel, ModelBar, Msix, on_write

from .registers import SLOTS, Bar0


class SharedAddressModel(DeviceModel):
    """5 MSI-X vectors, 12 channels."""

    id = "1234:5a01"
    msix = Msix(vectors=5, bar=0, table=0x2000, pba=0x3000)
    bars = {0: ModelBar(0x4000, Bar0, slots=SLOTS)}

    def configure(self) -> None:
        self.on: set[int] = set()

    @on_write(Bar0.SOURCE_ON)
    def source_on(self, slot: int) -> None:
        self.on.add(slot)

    @on_write(Bar0.SOURCE_OFF)
    def source_off(self, slot: int) -> None:
        self.on.discard(slot)

    @on_write(Bar0.FIRE)
    def fire(self, slot: int) -> None:
        good = slot < SLOTS.count and slot in self.on
        self.registers().set(Bar0.STATUS, refused=not good)
        if good:
            self.slots.fire(slot)

    @on_write(Bar0.FIRE_VECTOR)
    def fire_vector(self, vector: int) -> None:
        self.raise_vector(vector)

    @on_write(Bar0.RESET)
    def restart(self, _: int) -> None:
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.on.clear()
