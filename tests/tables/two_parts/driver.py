# SPDX-License-Identifier: Apache-2.0
"""The driver: the store says all."""

from vfio_ims.stores import StoreDriver

from .registers import STORE


class TwoParts(StoreDriver):
    """Turns a slot's source on with its first fire, and off when it is given back."""

    store = STORE
