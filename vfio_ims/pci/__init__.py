# SPDX-License-Identifier: Apache-2.0
"""PCI functions on paper: addresses, config space, capabilities, the hint at IMS. Decoding and building, no I/O."""

from vfio_ims.pci.address import PciAddress
from vfio_ims.pci.bars import BarKind, BaseAddress
from vfio_ims.pci.builder import ConfigBuilder
from vfio_ims.pci.capabilities import Capabilities, decode, is_model
from vfio_ims.pci.config import ConfigSource, ConfigSpace
from vfio_ims.pci.header import Command, Header, HeaderType, Status
from vfio_ims.pci.image import ConfigImage
from vfio_ims.pci.selector import IdSelector, Selector, SlotSelector
from vfio_ims.pci.spelling import ConfigRegister
from vfio_ims.pci.support_hints import ims_hint, pasid_hint

__all__ = [
    "BarKind",
    "BaseAddress",
    "Capabilities",
    "Command",
    "ConfigBuilder",
    "ConfigImage",
    "ConfigRegister",
    "ConfigSource",
    "ConfigSpace",
    "Header",
    "HeaderType",
    "IdSelector",
    "PciAddress",
    "Selector",
    "SlotSelector",
    "Status",
    "decode",
    "ims_hint",
    "is_model",
    "pasid_hint",
]
