# SPDX-License-Identifier: Apache-2.0
"""Names for ids: udev's hardware database, else the pci.ids file, else none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vfio_ims.host.udev import hardware_names

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["names_of"]

_PLACES = ("/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids", "/usr/share/pci.ids", "/var/lib/pciutils/pci.ids")
_LARGEST = 16 << 20  # bytes; the file has about 1.5 MB
_LINE = re.compile(r"(\t?)([0-9a-f]{4})  (.+)")


def names_of(functions: Iterable[Function], machine: Machine) -> dict[str, str]:
    """Vendor and model by id (``8086:0b25``); ids without a known name are left out."""
    found: dict[str, str] = {}
    missing: set[tuple[str, str]] = set()
    for function in functions:
        if function.id is None or function.id in found:
            continue
        vendor, model = hardware_names(str(function.address)) if machine.live else (None, None)
        if model:
            found[function.id] = f"{vendor} {model}" if vendor else model
        else:
            missing.add((function.id[:4], function.id[5:]))
    return found | _from_file(missing, machine) if missing else found


def _from_file(wanted: set[tuple[str, str]], machine: Machine) -> dict[str, str]:
    """Vendors start a line, their devices follow after one tab; classes, after the vendors, start with "C "."""
    text = next((text for place in _PLACES if (text := machine.text(place, _LARGEST))), None)
    if text is None:
        return {}
    vendors = {vendor for vendor, _ in wanted}
    found: dict[str, str] = {}
    vendor, title = "", ""
    for line in text.splitlines():
        if line.startswith("C "):
            break
        match = _LINE.match(line)
        if match is None:
            continue
        if not match[1]:
            vendor, title = (match[2], match[3]) if match[2] in vendors else ("", "")
        elif (vendor, match[2]) in wanted:
            found[f"{vendor}:{match[2]}"] = f"{title} {match[3]}"
    return found
