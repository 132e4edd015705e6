# SPDX-License-Identifier: Apache-2.0
"""The driver: the store says all."""

from vfio_ims.stores import StoreDriver

from .registers import STORE


class Context(StoreDriver):
    """Enables the device with a table of quiet contexts, and changes them one by one."""

    store = STORE
