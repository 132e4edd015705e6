# SPDX-License-Identifier: Apache-2.0
"""The driver: the store says all."""

from vfio_ims.stores import StoreDriver

from .registers import STORE


class FarApart(StoreDriver):
    """Raises any queue's slot by that queue's doorbell."""

    store = STORE
