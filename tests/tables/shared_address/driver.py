# SPDX-License-Identifier: Apache-2.0
"""The driver: the store says all."""

from vfio_ims.stores import StoreDriver

from .registers import STORE


class SharedAddress(StoreDriver):
    """Turns a channel on with its first fire, and off when its slot is given back."""

    store = STORE
