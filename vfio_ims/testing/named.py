# SPDX-License-Identifier: Apache-2.0
"""What is known of a named device without disturbing it: whether there is one, what it is, whether others share it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError, explain_unknown

if TYPE_CHECKING:
    from vfio_ims.names import Name

__all__ = ["Ids", "check_name", "ids_of", "lock_name", "mount_of", "same_device"]

_PCI = Path("/sys/bus/pci/devices")


@dataclass(frozen=True)
class Ids:
    """Vendor, device and the 24-bit class code of a function."""

    vendor: int
    device: int
    class_code: int

    def __str__(self) -> str:
        return f"{self.vendor:04x}:{self.device:04x}"


def mount_of(name: str) -> str:
    from vfio_ims.names import Name

    return Name.parse(name).mount


def same_device(one: str | None, other: str) -> bool:
    """Whether two names are of one device, whichever options they open it with."""
    return (one or "").partition(",")[0] == other.partition(",")[0]


def lock_name(name: str) -> str:
    """What stands for the device in the name of its lock; "" for one that each process has for itself."""
    from vfio_ims.names import Name

    parsed = Name.parse(name)
    if parsed.mount == "kernel":
        return parsed.target
    return os.path.realpath(parsed.target) if parsed.mount == "vfio-user" else ""


def check_name(name: str) -> None:
    """UsageError where ``name`` can open nothing here: no such function, model, option, socket or recording."""
    from vfio_ims.names import Name

    parsed = Name.parse(name)
    if parsed.mount == "kernel":
        _check_function(parsed)
    elif parsed.mount == "vfio-user":
        try:
            mode = os.stat(parsed.target).st_mode
        except OSError as error:
            hint = f"vfio-ims serve MODEL --socket {parsed.target}"
            raise UsageError("look for the socket", device=name, hint=hint, errno=error.errno) from error
        if not stat.S_ISSOCK(mode):
            raise UsageError("look for the socket", device=name, why="that is no socket")
    else:
        ids_of(name)  # opens a model of its own, or reads the recording


def _check_function(name: Name) -> None:
    if (_PCI / name.target).exists():
        return
    there = [path.name for path in _PCI.iterdir()] if _PCI.exists() else []
    near = explain_unknown("function", name.target, there).rpartition("; ")[2] if there else ""
    why = "there is no such PCI function here" + (f"; {near}" if near.startswith("did you mean") else "")
    raise UsageError("look up a device", device=str(name), why=why, hint="vfio-ims list shows what is here")


def ids_of(name: str) -> Ids:
    """What the device is: from sysfs or the recording where that tells, else by opening it bare."""
    from vfio_ims.names import Name, open_device
    from vfio_ims.tracing.opening import unrecorded

    parsed = Name.parse(name)
    if parsed.mount == "kernel":
        _check_function(parsed)
        try:
            return Ids(*(int((_PCI / parsed.target / part).read_text(), 16) for part in ("vendor", "device", "class")))
        except OSError as error:
            raise UsageError("look up a device", device=name, errno=error.errno) from error
    if parsed.mount == "replay":
        from vfio_ims.tracing import read_recording

        vendor, _, device = read_recording(parsed.target).header["id"].partition(":")
        return Ids(int(vendor, 16), int(device, 16), 0)
    with unrecorded(), open_device(name) as opened:
        header = opened.config.header
    return Ids(header.vendor, header.device, header.class_code)
