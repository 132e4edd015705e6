# SPDX-License-Identifier: Apache-2.0
"""The seam between the library and a device: what every mount offers, and nothing that only one of them has.

Above the seam nothing knows whether a kernel, a socket or a model answers. Record, replay, faults and tracing wrap
these ports. Errors are those of ``vfio_ims.errors``; they name the device.
"""

from vfio_ims.ports.address_space import AddressSpacePort
from vfio_ims.ports.device import DevicePort
from vfio_ims.ports.link import Link
from vfio_ims.ports.model import Bus, ModelPort, SharedArea
from vfio_ims.ports.window import Window

__all__ = ["AddressSpacePort", "Bus", "DevicePort", "Link", "ModelPort", "SharedArea", "Window"]
