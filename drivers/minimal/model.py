# SPDX-License-Identifier: Apache-2.0
"""The example device in software."""

from vfio_ims.messages import FireStatus
from vfio_ims.models import DeviceModel, ModelBar, Msix, on_write

from .registers import SLOTS, Bar0


class MinimalModel(DeviceModel):
    """4 MSI-X vectors, 16 slots."""

    id = "1234:1a55"
    immediately_ready = True
    msix = Msix(vectors=4, bar=0, table=0x2000, pba=0x3000)
    bars = {0: ModelBar(0x4000, Bar0, slots=SLOTS)}

    @on_write(Bar0.FIRE)
    def fire(self, slot: int) -> None:
        bad = slot >= SLOTS.count
        outcome = None if bad else self.slots.fire(slot)  # masked: pending; else the bus carries address and data
        self.registers().set(Bar0.STATUS, pended=outcome is FireStatus.PENDING, bad_slot=bad)

    @on_write(Bar0.FIRE_VECTOR)
    def fire_vector(self, vector: int) -> None:
        self.raise_vector(vector)

    @on_write(Bar0.RESET)
    def restart(self, _: int) -> None:
        self.reset()
