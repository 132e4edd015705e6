# SPDX-License-Identifier: Apache-2.0
"""An open device: its config space, BARs, interrupts, memory and reset, on whatever mount."""

from vfio_ims.device.aer import ErrorReport, ReportedError
from vfio_ims.device.bar import Bar
from vfio_ims.device.config import Config
from vfio_ims.device.device import Device
from vfio_ims.device.power import LowPower

__all__ = ["Bar", "Config", "Device", "ErrorReport", "LowPower", "ReportedError"]
