# SPDX-License-Identifier: Apache-2.0
"""The conditions of a run: what was tested, by which driver, on which platform."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from vfio_ims.errors import VfioImsError

if TYPE_CHECKING:
    from vfio_ims.driver import Driver

__all__ = ["conditions"]


def conditions(driver: Driver) -> dict[str, str]:
    """Name and text of each, to be printed and kept. Reads the device's ids and version; changes nothing."""
    device = driver.device
    mark = device.mark
    return {
        "id": f"{_id(driver, 0):04x}:{_id(driver, 2):04x}, revision {_id(driver, 8) & 0xFF:02x}",
        "kind": "hardware" if mark is None else "software model",
        "driver_module": type(driver).__module__,
        "firmware": _said(driver),
        "messages": str(device.port.message_platform()),
        "interrupt_remapping": device.port.interrupt_remapping().text,
        "python": platform.python_version(),
    }


def _id(driver: Driver, offset: int) -> int:
    return driver.device.config.read(offset, 2)


def _said(driver: Driver) -> str:
    try:
        return driver.firmware()
    except VfioImsError as error:
        return f"not known: {error}"
