# SPDX-License-Identifier: Apache-2.0
"""The software platform: IOMMU, interrupt remapping, MSI-X table and fault log for mounts without a kernel."""

from vfio_ims.platform.faults import Fault, FaultKind, FaultLog
from vfio_ims.platform.function import Function
from vfio_ims.platform.iommu import IoAddressSpace
from vfio_ims.platform.kinds import KINDS
from vfio_ims.platform.msix import MsixPlace
from vfio_ims.platform.platform import Platform

__all__ = ["KINDS", "Fault", "FaultKind", "FaultLog", "Function", "IoAddressSpace", "MsixPlace", "Platform"]
