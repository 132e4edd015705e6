# SPDX-License-Identifier: Apache-2.0
"""The device in software: the store says all of its slots."""

from vfio_ims.models import ModelBar, Msix, StoreModel, on_write

from .registers import STORE, Bar0


class InventedModel(StoreModel):
    """6 MSI-X vectors, of which 0 reports errors; 36 slots."""

    id = "1234:5a06"
    msix = Msix(vectors=6, bar=0, table=0x2000, pba=0x3000)
    bars = {0: ModelBar(0x4000, Bar0)}
    store = STORE

    @on_write(Bar0.BREAK)
    def report(self, _: int) -> None:
        self.raise_vector(0)
