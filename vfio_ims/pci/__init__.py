# SPDX-License-Identifier: Apache-2.0
"""PCI functions on paper: addresses, config space, capabilities, the hint at IMS. Decoding and building, no I/O."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.pci.address import PciAddress
    from vfio_ims.pci.bars import BarKind, BaseAddress
    from vfio_ims.pci.builder import ConfigBuilder
    from vfio_ims.pci.capabilities import Capabilities, decode, is_model
    from vfio_ims.pci.class_names import class_name
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
        "class_name",
        "decode",
        "ims_hint",
        "is_model",
        "pasid_hint",
    ]

_PLACES = {
    "BarKind": "bars",
    "BaseAddress": "bars",
    "Capabilities": "capabilities",
    "Command": "header",
    "ConfigBuilder": "builder",
    "ConfigImage": "image",
    "ConfigRegister": "spelling",
    "ConfigSource": "config",
    "ConfigSpace": "config",
    "Header": "header",
    "HeaderType": "header",
    "IdSelector": "selector",
    "PciAddress": "address",
    "Selector": "selector",
    "SlotSelector": "selector",
    "Status": "header",
    "class_name": "class_names",
    "decode": "capabilities",
    "ims_hint": "support_hints",
    "is_model": "capabilities",
    "pasid_hint": "support_hints",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, "__all__"})


def __getattr__(name: str) -> object:
    # Loaded on first use: who lists functions needs no builder, and little else.
    if name in _PLACES:
        from importlib import import_module

        found = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
        return found
    if name == "__all__":  # pdoc and others that ask for all of it look at what is loaded
        globals().update({one: __getattr__(one) for one in _PLACES})
        return [*_PLACES]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
