# SPDX-License-Identifier: Apache-2.0
"""The seam between the library and a device: what every mount offers, and nothing that only one of them has.

Above the seam nothing knows whether a kernel, a socket or a model answers. Record, replay, faults and tracing wrap
these ports. Errors are those of ``vfio_ims.errors``; they name the device.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.ports.address_space import AddressSpacePort
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.ports.link import Link
    from vfio_ims.ports.model import Bus, ModelPort, SharedArea
    from vfio_ims.ports.window import Window

    __all__ = [
        "AddressSpacePort",
        "Bus",
        "DevicePort",
        "Link",
        "ModelPort",
        "SharedArea",
        "Window",
    ]

_PLACES = {
    "AddressSpacePort": "address_space",
    "Bus": "model",
    "DevicePort": "device",
    "Link": "link",
    "ModelPort": "model",
    "SharedArea": "model",
    "Window": "window",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, "__all__"})


def __getattr__(name: str) -> object:
    # Loaded on first use: who needs the values alone (ports.values) loads no port.
    if name in _PLACES:
        from importlib import import_module

        found = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
        return found
    if name == "__all__":  # pdoc and others that ask for all of it look at what is loaded
        globals().update({one: __getattr__(one) for one in _PLACES})
        return [*_PLACES]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
