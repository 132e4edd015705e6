# SPDX-License-Identifier: Apache-2.0
"""What ``mock:`` and ``vfio-user:`` names open: a port on a software platform."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError, explain_unknown
from vfio_ims.names.name import Name
from vfio_ims.names.options import PAGES, PLATFORM, parsed_options

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.platform import Platform
    from vfio_ims.ports.device import DevicePort


def open_software(name: Name, share: Device | None, platform: Platform | None) -> DevicePort:
    """Open the port on ``platform``, or on one as the options have it. ``share``: join that device's address space."""
    from vfio_ims.backends.software.device import SoftwareDevice
    from vfio_ims.backends.software.in_process import InProcessLink
    from vfio_ims.backends.software.space import SoftwareAddressSpace
    from vfio_ims.families import family_of_model
    from vfio_ims.platform import Platform as SoftwarePlatform

    ours = {key: value for key, value in name.options.items() if key in PLATFORM}
    theirs = {key: value or "yes" for key, value in name.options.items() if key not in PLATFORM}
    space = None
    if share is not None:
        port = share.port
        if not isinstance(port, SoftwareDevice) or not isinstance(port.space, SoftwareAddressSpace):
            why = f"{share.name} is not on a software platform, so {name} cannot share its address space"
            raise UsageError(f"open {name}", why=why)
        platform, space = port.platform, port.space
    chosen = parsed_options(PLATFORM, ours)
    requester = _requester(str(chosen["bdf"]))
    if platform is None:
        platform = SoftwarePlatform(
            kind=str(chosen["platform"]),
            merge=str(chosen["merge"]),  # type: ignore[arg-type]
            remapping=bool(chosen["remapping"]),
            dynamic_msix=bool(chosen["dynamic"]),
            msix_mappable=bool(chosen["mappable"]),
            page_size=max(mmap.PAGESIZE, PAGES.get(str(chosen["page"]), 0)),
            seed=int(chosen["seed"]) or None,
        )
    if name.mount == "mock":
        kind = family_of_model(name.target).load_model(name.target)
        known = [*PLATFORM, *kind.common_options, *kind.options]
        for key in theirs.keys() - set(known):
            raise UsageError(f"open {name}", why=explain_unknown("option", key, known))
        model = kind(str(name), **theirs)
        return SoftwareDevice(InProcessLink(model), platform, str(name), space, requester=requester)
    if theirs:
        raise UsageError(f"open {name}", why=explain_unknown("option of vfio-user:", next(iter(theirs)), PLATFORM))
    from vfio_ims.vfio_user.client import SocketLink

    link = SocketLink(name.target)
    if link.host is None:
        return SoftwareDevice(link, platform, str(name), space, requester=requester)
    from vfio_ims.backends.served.device import ServedDevice

    ours.pop("donors", None)
    if ours or share is not None:
        link.close()
        what = f"option {next(iter(ours))}" if ours else f"address space of {'' if share is None else share.name}"
        why = f"its server has opened the function, on a host of its own: the {what} means nothing there"
        raise UsageError(
            f"open {name}", why=why, hint=f"give it to the server: vfio-ims serve DEVICE --socket {name.target}"
        )
    return ServedDevice(link, link.host, str(name))


def _requester(bdf: str) -> int | None:
    """The 16-bit requester id of a function on the software platform; None: the next free one."""
    from vfio_ims.pci.address import PciAddress

    if not bdf:
        return None
    address = PciAddress.parse(bdf)
    return address.bus << 8 | address.devfn
