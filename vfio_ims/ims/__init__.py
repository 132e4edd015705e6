# SPDX-License-Identifier: Apache-2.0
"""The Interrupt Message Store: slot tables, donors, the domain that allocates, and the verdict on a device."""

from vfio_ims.ims.domain import ImsDomain
from vfio_ims.ims.group import ImsGroup
from vfio_ims.ims.interrupt import ImsInterrupt
from vfio_ims.ims.polled import PolledSlot
from vfio_ims.ims.slot_array import SlotArray
from vfio_ims.ims.source import FireReport, FireStatus, ImsSource
from vfio_ims.ims.table import ImsTable
from vfio_ims.ims.verdict import ImsVerdict, Link

__all__ = [
    "FireReport",
    "FireStatus",
    "ImsDomain",
    "ImsGroup",
    "ImsInterrupt",
    "ImsSource",
    "ImsTable",
    "ImsVerdict",
    "Link",
    "PolledSlot",
    "SlotArray",
]
