# SPDX-License-Identifier: Apache-2.0
"""The driver: the store says all."""

from vfio_ims.stores import StoreDriver

from .registers import STORE


class PendingCleared(StoreDriver):
    """Raises any slot on request."""

    store = STORE
