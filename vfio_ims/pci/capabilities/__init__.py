# SPDX-License-Identifier: Apache-2.0
"""Capabilities: found, decoded in full, and built, each from one declaration of its fields."""

from vfio_ims.pci.capabilities.base import Capability, ExtendedCapability, StandardCapability
from vfio_ims.pci.capabilities.collection import Capabilities, decode, is_model
from vfio_ims.pci.capabilities.diagnosis import Diagnosis, Fault
from vfio_ims.pci.capabilities.dvsec import Dvsec, SiovDvsec
from vfio_ims.pci.capabilities.express import Express, PortType
from vfio_ims.pci.capabilities.fields import FieldValue
from vfio_ims.pci.capabilities.ids import EXTENDED_IDS, STANDARD_IDS, CapabilityId
from vfio_ims.pci.capabilities.interrupts import MSIX_ENTRY_SIZE, Msi, Msix
from vfio_ims.pci.capabilities.power import LatencyTolerance, PowerManagement
from vfio_ims.pci.capabilities.vendor import MODEL_MARK, ExtendedVendorSpecific, ModelMark, VendorSpecific

__all__ = [
    "EXTENDED_IDS",
    "MODEL_MARK",
    "MSIX_ENTRY_SIZE",
    "STANDARD_IDS",
    "Capabilities",
    "Capability",
    "CapabilityId",
    "Diagnosis",
    "Dvsec",
    "Express",
    "ExtendedCapability",
    "ExtendedVendorSpecific",
    "Fault",
    "FieldValue",
    "LatencyTolerance",
    "ModelMark",
    "Msi",
    "Msix",
    "PortType",
    "PowerManagement",
    "SiovDvsec",
    "StandardCapability",
    "VendorSpecific",
    "decode",
    "is_model",
]
