# SPDX-License-Identifier: Apache-2.0
"""The device in software: the store says all."""

from vfio_ims.models import ModelBar, Msix, StoreModel

from .registers import STORE, Bar0


class PendingClearedModel(StoreModel):
    """5 MSI-X vectors, 16 slots."""

    id = "1234:5a0b"
    msix = Msix(vectors=5, bar=0, table=0x2000, pba=0x3000)
    bars = {0: ModelBar(0x4000, Bar0)}
    store = STORE
