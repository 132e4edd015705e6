# SPDX-License-Identifier: Apache-2.0
"""Capabilities: found, decoded in full, and built, each from one declaration of its fields."""

from vfio_ims.pci.capabilities.base import Capability, ExtendedCapability, StandardCapability
from vfio_ims.pci.capabilities.collection import Capabilities, decode, is_model
from vfio_ims.pci.capabilities.diagnosis import Diagnosis, Fault
from vfio_ims.pci.capabilities.dvsec import Dvsec, SiovDvsec
from vfio_ims.pci.capabilities.errors import AdvancedErrorReporting, Correctable, Uncorrectable, error_names
from vfio_ims.pci.capabilities.express import Express
from vfio_ims.pci.capabilities.fields import FieldValue
from vfio_ims.pci.capabilities.ids import EXTENDED_IDS, STANDARD_IDS, CapabilityId
from vfio_ims.pci.capabilities.interrupts import MSIX_ENTRY_SIZE, Msi, Msix
from vfio_ims.pci.capabilities.others import (
    AdvancedFeatures,
    DataLinkFeature,
    DataObjectExchange,
    L1Substates,
    PrecisionTime,
    ResizableBar,
    SerialNumber,
    SubsystemId,
    VfResizableBar,
    VitalProductData,
)
from vfio_ims.pci.capabilities.port_type import PortType
from vfio_ims.pci.capabilities.power import LatencyTolerance, PowerManagement, PowerState
from vfio_ims.pci.capabilities.traffic import ProcessingHints, VirtualChannel, VirtualChannel2, VirtualChannelResource
from vfio_ims.pci.capabilities.translation import AddressTranslation, PageRequest, Pasid
from vfio_ims.pci.capabilities.vendor import MODEL_MARK, ExtendedVendorSpecific, ModelMark, VendorSpecific
from vfio_ims.pci.capabilities.virtual import AccessControl, AlternativeRouting, ScalableIov, SrIov

__all__ = [
    "EXTENDED_IDS",
    "MODEL_MARK",
    "MSIX_ENTRY_SIZE",
    "STANDARD_IDS",
    "AccessControl",
    "AddressTranslation",
    "AdvancedErrorReporting",
    "AdvancedFeatures",
    "AlternativeRouting",
    "Capabilities",
    "Capability",
    "CapabilityId",
    "Correctable",
    "DataLinkFeature",
    "DataObjectExchange",
    "Diagnosis",
    "Dvsec",
    "Express",
    "ExtendedCapability",
    "ExtendedVendorSpecific",
    "Fault",
    "FieldValue",
    "L1Substates",
    "LatencyTolerance",
    "ModelMark",
    "Msi",
    "Msix",
    "PageRequest",
    "Pasid",
    "PortType",
    "PowerManagement",
    "PowerState",
    "PrecisionTime",
    "ProcessingHints",
    "ResizableBar",
    "ScalableIov",
    "SerialNumber",
    "SiovDvsec",
    "SrIov",
    "StandardCapability",
    "SubsystemId",
    "Uncorrectable",
    "VendorSpecific",
    "VfResizableBar",
    "VirtualChannel",
    "VirtualChannel2",
    "VirtualChannelResource",
    "VitalProductData",
    "decode",
    "error_names",
    "is_model",
]
