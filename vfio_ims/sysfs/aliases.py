# SPDX-License-Identifier: Apache-2.0
"""Kernel names of functions: ``dsa0``, ``wq0.0``, ``eth1``, ``nvme0``, ``vfio3`` to addresses, and back."""

import os
from pathlib import Path

from vfio_ims.pci import PciAddress
from vfio_ims.sysfs.attributes import SYS, entries

__all__ = ["address_of", "names_below"]

_DEPTH = 4


def address_of(name: str, root: Path = SYS) -> PciAddress | None:
    """The PCI function that the kernel's device ``name`` belongs to, or None.

    Looks in every class and bus, and takes the nearest function above the device.
    """
    if not name or "/" in name or name in (".", ".."):
        return None
    places = [root / "class" / kind / name for kind in entries(root / "class")]
    places += [root / "bus" / kind / "devices" / name for kind in entries(root / "bus")]
    for place in places:
        if os.path.lexists(place):
            for part in reversed(Path(os.path.realpath(place)).parts):
                if PciAddress.looks_like(part):
                    return PciAddress.parse(part)
    return None


def names_below(device: Path, depth: int = _DEPTH) -> tuple[str, ...]:
    """Names of the devices that the kernel has made for the function in this folder, its queues and such included.

    A device has a ``subsystem`` link; a folder such as ``net`` between them has none. Other functions, behind a bridge,
    are left out.
    """
    found: set[str] = set()
    try:
        with os.scandir(device) as folder:
            below = [one for one in folder if one.is_dir(follow_symlinks=False)]
    except OSError:
        return ()
    for one in below:
        if PciAddress.looks_like(one.name):
            continue
        if os.path.islink(f"{one.path}/subsystem"):
            found.add(one.name)
        elif one.name in ("power", "msi_irqs", "link", "firmware_node"):
            continue
        if depth > 1:
            found.update(names_below(Path(one.path), depth - 1))
    return tuple(sorted(found))
