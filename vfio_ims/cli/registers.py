# SPDX-License-Identifier: Apache-2.0
"""What ``read`` and ``write`` share: whose registers, and how a value is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vfio_ims.cli.output import with_interface
from vfio_ims.cli.place import place as reported_place
from vfio_ims.errors import SetupError

if TYPE_CHECKING:
    from vfio_ims.families import Family
    from vfio_ims.host.register_access import Registers
    from vfio_ims.host.register_names import Place
    from vfio_ims.pci.config import ConfigSpace
    from vfio_ims.sysfs import Function

__all__ = ["registers", "shown"]


def _family(config: ConfigSpace) -> Family | None:
    from vfio_ims.families import family_for

    try:
        return family_for(config.header.vendor, config.header.device)
    except SetupError:
        return None


@contextmanager
def registers(device: str, iommu: str | None, live: bool) -> Iterator[tuple[Registers, Family | None, Function | None]]:
    """The registers of ``device``, the family that knows it, and its function where it is looked at through sysfs."""
    from vfio_ims.host import Machine
    from vfio_ims.host.register_access import OpenRegisters, SysfsRegisters
    from vfio_ims.host.selection import is_software, not_here
    from vfio_ims.names import Name, open_device

    known = Machine().function(device.partition(",")[0])
    if device.startswith("report:") or (known is not None and not live):
        with reported_place(device) as (_, function):
            assert function is not None
            found = SysfsRegisters(function)
            try:
                yield found, _family(found.capabilities.config), function
            finally:
                found.close()
        return
    if known is None and not is_software(device):
        raise not_here(device, "look at its registers", software=True)
    name = Name.parse(with_interface(device, iommu) if known is None else with_interface(str(known.address), iommu))
    with open_device(name) as opened:
        yield OpenRegisters(opened), _family(opened.config.snapshot()), None


def shown(place: Place, value: int, meaning: str) -> tuple[str, dict[str, Any]]:
    """One register for people and for JSON, where numbers that may exceed 53 bits are text in hex."""
    digits = place.width * 2
    text = f"{place.title} = {value:0{digits}x}" + (f"  {meaning}" if meaning else "")
    content: dict[str, Any] = {
        "register": place.title,
        "place": str(place),
        "width": place.width,
        "value": value if place.width <= 4 else f"{value:#0{digits + 2}x}",
        "meaning": meaning,
    }
    return text, content
