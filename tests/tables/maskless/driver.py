# SPDX-License-Identifier: Apache-2.0
"""The driver: the store says all."""

from vfio_ims.stores import StoreDriver

from .registers import STORE


class Maskless(StoreDriver):
    """Cannot turn a slot's source off: a quiet slot is one whose message goes to memory."""

    store = STORE
