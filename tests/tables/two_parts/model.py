# SPDX-License-Identifier: Apache-2.0
"""The device in software."""

from vfio_ims.messages import FireStatus
from vfio_ims.models import ModelBar, Msix, StoreModel

from .registers import CHANNELS, STORE, Bar0


class TwoPartsModel(StoreModel):
    """5 MSI-X vectors, 6 channels, 5 queues. A cause of the second kind sends to the copy of the address."""

    id = "1234:5a05"
    msix = Msix(vectors=5, bar=0, table=0x2000, pba=0x3000)
    bars = {0: ModelBar(0x4000, Bar0), 2: ModelBar(0x1000)}
    store = STORE

    def fire(self, slot: int) -> FireStatus:
        if slot >= CHANNELS.count or slot % 2:
            return super().fire(slot)
        channels = self.slots_in(0)
        low, high = (int.from_bytes(channels.answer(at, 4), "little") for at in CHANNELS.address_copies[0] if at)
        self.send(high << 32 | low, channels.slot(slot).message.data)
        return FireStatus.SENT
