# SPDX-License-Identifier: Apache-2.0
"""A userspace VFIO driver kit for PCIe functions with an Interrupt Message Store (IMS)."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.driver import Driver, open_driver
    from vfio_ims.errors import VfioImsError
    from vfio_ims.names import open_device as open  # noqa: A004 - vfio_ims.open(name), as io.open
    from vfio_ims.names import open_fd
    from vfio_ims.tracing import trace

    __all__ = ["Device", "Driver", "VfioImsError", "__version__", "open", "open_driver", "open_fd", "trace"]

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())

_LAZY = {
    "Device": ("vfio_ims.device", "Device"),
    "Driver": ("vfio_ims.driver", "Driver"),
    "VfioImsError": ("vfio_ims.errors", "VfioImsError"),
    "open": ("vfio_ims.names", "open_device"),
    "open_driver": ("vfio_ims.driver", "open_driver"),
    "open_fd": ("vfio_ims.names", "open_fd"),
    "trace": ("vfio_ims.tracing", "trace"),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "__all__"})


def __getattr__(name: str) -> object:
    # Loaded on first use: `vfio-ims --help` and the build need none of it.
    if name in _LAZY:
        from importlib import import_module

        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    if name == "__all__":  # pdoc and others that ask for all of it look at what is loaded
        globals().update({one: __getattr__(one) for one in _LAZY})
        return [*_LAZY, "__version__"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
