# SPDX-License-Identifier: Apache-2.0
"""The kernel's view of PCI functions. Reads only; every reader takes the root, ``/sys`` by default."""

from vfio_ims.sysfs.aliases import address_of
from vfio_ims.sysfs.enumerate import find, functions, select
from vfio_ims.sysfs.function import Function
from vfio_ims.sysfs.groups import IommuGroup, ReservedRegion
from vfio_ims.sysfs.irqs import Irq
from vfio_ims.sysfs.link import PcieLink
from vfio_ims.sysfs.message_platform import message_platform
from vfio_ims.sysfs.remapping import interrupt_remapping
from vfio_ims.sysfs.resources import Resource

__all__ = [
    "Function",
    "IommuGroup",
    "Irq",
    "PcieLink",
    "ReservedRegion",
    "Resource",
    "address_of",
    "find",
    "functions",
    "interrupt_remapping",
    "message_platform",
    "select",
]
