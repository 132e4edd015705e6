# SPDX-License-Identifier: Apache-2.0
"""The kit for device models: declare config space, registers and slots, hook what a write sets off."""

from vfio_ims.models.bar import ModelBar, Msix
from vfio_ims.models.hooks import on_read, on_write
from vfio_ims.models.model import DeviceModel
from vfio_ims.models.options import Option
from vfio_ims.models.slot_store import SlotStore
from vfio_ims.models.store_model import StoreModel
from vfio_ims.models.worker import Worker

__all__ = ["DeviceModel", "ModelBar", "Msix", "Option", "SlotStore", "StoreModel", "Worker", "on_read", "on_write"]
