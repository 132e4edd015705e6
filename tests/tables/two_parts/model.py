# SPDX-License-Identifier: Apache-2.0
"""The device in software."""

from vfio_ims.models import DeviceModel, ModelBar, Msix, on_write

from .registers import CHANNELS, QUEUES, Bar0

SLOTS = CHANNELS.count + QUEUES.count


class TwoPartsModel(DeviceModel):
    """5 MSI-X vectors, 6 channels, 5 queues. A cause of the second kind sends to the copy of the address."""

    id = "1234:5a05"
    msix = Msix(vectors=5, bar=0, table=0x2000, pba=0x3000)
    bars = {0: ModelBar(0x4000, Bar0, slots=CHANNELS), 2: ModelBar(0x1000, slots=QUEUES)}

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
        good = slot < SLOTS and slot in self.on
        self.registers().set(Bar0.STATUS, refused=not good)
        if not good:
            return
        if slot >= CHANNELS.count:
            self.stores[2].fire(slot - CHANNELS.count)
        elif slot % 2:
            self.stores[0].fire(slot)
        else:
            beside = self.stores[0].beside
            low, high = (int.from_bytes(beside.load(at, 4), "little") for at in CHANNELS.address_copies[0] if at)
            self.send(high << 32 | low, self.stores[0].slot(slot).message.data)

    @on_write(Bar0.FIRE_VECTOR)
    def fire_vector(self, vector: int) -> None:
        self.raise_vector(vector)

    @on_write(Bar0.RESET)
    def restart(self, _: int) -> None:
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.on.clear()
