# SPDX-License-Identifier: Apache-2.0
"""The device in software: the store says all."""

from vfio_ims.models import ModelBar, Msix, StoreModel

from .registers import STORE, Bar0, Queues


class FarApartModel(StoreModel):
    """6 MSI-X vectors, two kinds of queues in one BAR: 6 and 4."""

    id = "1234:5a07"
    msix = Msix(vectors=6, bar=0, table=0x2000, pba=0x3000)
    bars = {0: ModelBar(0x4000, Bar0), 2: ModelBar(0x10000, Queues)}
    store = STORE
