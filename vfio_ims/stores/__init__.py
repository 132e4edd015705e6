# SPDX-License-Identifier: Apache-2.0
"""Described stores: a driver for a device of which only its slot tables are known, from a class or from a file."""

from vfio_ims.stores.driver import StoreDriver, store_driver
from vfio_ims.stores.file import read_store

__all__ = ["StoreDriver", "read_store", "store_driver"]
