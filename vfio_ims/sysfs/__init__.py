# SPDX-License-Identifier: Apache-2.0
"""The kernel's view of PCI functions. Reads only; every reader takes the root, ``/sys`` by default."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_PLACES = {
    "Function": "function",
    "IommuGroup": "groups",
    "Irq": "irqs",
    "PcieLink": "link",
    "ReservedRegion": "groups",
    "Resource": "resources",
    "address_of": "aliases",
    "find": "enumerate",
    "functions": "enumerate",
    "interrupt_remapping": "remapping",
    "message_platform": "message_platform",
    "select": "enumerate",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, "__all__"})


def __getattr__(name: str) -> object:
    # Loaded on first use: who looks for functions asks nothing about messages.
    if name in _PLACES:
        from importlib import import_module

        found = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
        return found
    if name == "__all__":  # pdoc and others that ask for all of it look at what is loaded
        globals().update({one: __getattr__(one) for one in _PLACES})
        return [*_PLACES]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
