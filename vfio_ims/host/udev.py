# SPDX-License-Identifier: Apache-2.0
"""udev through pyudev, loaded when first asked; every answer is None or empty where libudev is missing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["context", "hardware_names", "udev_running", "why_missing"]


@cache
def _load() -> tuple[Any, str]:
    try:
        import pyudev
    except ImportError as error:
        return None, f"pyudev cannot be imported: {error}"
    try:
        return pyudev.Context(), ""
    except (ImportError, OSError) as error:
        # find_library wants ldconfig or a compiler: a slim image may have libudev and yet not find it.
        return None, f"libudev cannot be loaded: {error}"


def context() -> Any:
    """The context of pyudev, or None."""
    return _load()[0]


def why_missing() -> str:
    """Why there is no context; empty where there is one."""
    return _load()[1]


def udev_running(root: Path = Path("/")) -> bool:
    """Whether udevd answers here: it is not there in containers and slim images."""
    return (root / "run/udev/control").exists()


def hardware_names(address: str) -> tuple[str | None, str | None]:
    """Vendor and model of a PCI function as udev's hardware database has them."""
    udev = context()
    if udev is None:
        return None, None
    import pyudev

    try:
        device = pyudev.Devices.from_name(udev, "pci", address)
        return device.properties.get("ID_VENDOR_FROM_DATABASE"), device.properties.get("ID_MODEL_FROM_DATABASE")
    except pyudev.DeviceNotFoundError:
        return None, None
