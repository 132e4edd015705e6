# SPDX-License-Identifier: Apache-2.0
"""The Interrupt Message Store: slot tables, donors, the domain that allocates, and the verdict on a device."""

from vfio_ims.ims.context_table import ContextTable
from vfio_ims.ims.domain import ImsDomain
from vfio_ims.ims.driver_callbacks import DriverCallbacks, FireReport
from vfio_ims.ims.group import ImsGroup
from vfio_ims.ims.interrupt import ImsInterrupt
from vfio_ims.ims.joined_table import JoinedTable
from vfio_ims.ims.polled import PolledSlot
from vfio_ims.ims.slot_array import SlotArray
from vfio_ims.ims.table import ImsTable
from vfio_ims.ims.verdict import ImsVerdict, VerdictLink
from vfio_ims.messages import FireStatus

__all__ = [
    "ContextTable",
    "DriverCallbacks",
    "FireReport",
    "FireStatus",
    "ImsDomain",
    "ImsGroup",
    "ImsInterrupt",
    "ImsTable",
    "ImsVerdict",
    "JoinedTable",
    "PolledSlot",
    "SlotArray",
    "VerdictLink",
]
