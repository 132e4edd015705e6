# SPDX-License-Identifier: Apache-2.0
"""Names of devices: what to open, on which mount, with which options.

``0000:6a:01.0[,iommu=type1|iommufd|none][,vf_token=UUID][,donors=msi][,config=FD]``     bound to vfio-pci
``mock:MODEL[,option=value]...``           a model in this process, on a software platform
``vfio-user:PATH[,option=value]...``       a vfio-user server's socket, on a software platform
``replay:FILE[,order=register][,ignore=REGISTER+...]``     what was recorded of a device; ``vfio_ims.tracing``

A platform's options: ``platform``, ``merge``, ``remapping``, ``dynamic``, ``mappable``, ``config``, ``donors``,
``seed``, ``bdf``; the others are the model's own. ``donors``: which vectors slots copy. ``config``: a descriptor of the
function's ``config`` in sysfs that root opened, where the message of MSI vectors is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vfio_ims.device import Device
from vfio_ims.errors import UsageError, explain_unknown
from vfio_ims.models.options import Option, parse_options
from vfio_ims.tracing.opening import opened

if TYPE_CHECKING:
    from vfio_ims.models.options import Value
    from vfio_ims.platform import Platform
    from vfio_ims.ports.device import DevicePort

__all__ = ["PLATFORM_OPTIONS", "Name", "open_device", "open_fd", "open_port"]

_PLATFORM = {
    "platform": Option("vtd", "which messages the host takes: platform.KINDS has the names"),
    "merge": Option("always", "whether interrupts in flight on one vector merge", ("always", "random", "never")),
    "remapping": Option(True, "whether the platform remaps interrupts; no: the same as platform=compatibility"),
    "dynamic": Option(True, "whether MSI-X vectors can be added one at a time"),
    "mappable": Option(True, "whether the MSI-X table can be mapped"),
    "bdf": Option("", "where the function sits; bus 0 is the root, which has no bus reset, as in bdf=01:00.0"),
    "config": Option(True, "whether the kernel's own view of config space is at hand, as from a descriptor of root's"),
    "seed": Option(0, "for random merging; 0: a new one each time"),
}
_DONORS = Option("auto", "which vectors slots copy; auto: MSI where there is no MSI-X", ("auto", "msix", "msi"))
_PLATFORM["donors"] = _DONORS
PLATFORM_OPTIONS = frozenset(_PLATFORM)
"""The options of a name that are the host's, not the model's."""
_KERNEL = {
    "config": Option(-1, "a descriptor of the function's config in sysfs that root opened, for donors from MSI"),
    "donors": _DONORS,
    "iommu": Option("auto", "which of VFIO's interfaces", ("auto", "type1", "iommufd", "none")),
    "vf_token": Option("", "a UUID that a physical function and its virtual functions on VFIO must share"),
}
_REPLAY = {
    "order": Option("strict", "calls in the order of then, or each register's own", ("strict", "register")),
    "ignore": Option("", "registers, joined by +, to which other values may be written: counters, addresses"),
}


@dataclass(frozen=True)
class Name:
    """A parsed name: its mount ("kernel", "mock", "vfio-user", "replay"), what on it, and the options after commas."""

    mount: str
    target: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Name:
        """UsageError where ``text`` names nothing that could be opened."""
        if not isinstance(text, str):
            raise UsageError("read a device's name", why=f"a name must be text, not {text!r}")
        head, *rest = text.strip().split(",")
        if "" in rest:
            why = f"after each comma an option must follow, as in {head},option=value, not {text!r}"
            raise UsageError("read a device's name", why=why, hint=f"without options: {head}")
        options = {key: value for key, _, value in (part.partition("=") for part in rest)}
        scheme, colon, target = head.partition(":")
        if colon and scheme in ("mock", "vfio-user", "replay"):
            if not target:
                wanted = "a recording's path" if scheme == "replay" else "a socket's path"
                if scheme == "mock":
                    from vfio_ims.families import model_names

                    wanted = f"a model: {', '.join(model_names())}"
                raise UsageError("read a device's name", why=f"{scheme}: must be followed by {wanted}")
            return cls(scheme, target, options)
        if colon and scheme == "report":
            why = "a report can be looked at, not opened"
            raise UsageError("read a device's name", device=text, why=why, hint=f"vfio-ims show {text}")
        from vfio_ims.pci.address import PciAddress

        try:
            return cls("kernel", str(PciAddress.parse(head)), options)
        except UsageError as error:
            raise UsageError(
                "read a device's name",
                why=f"{text!r} is neither a PCI address such as 0000:6a:01.0, "
                "nor mock:MODEL, nor vfio-user:PATH, nor replay:FILE",
                hint="vfio-ims list shows the functions of this machine, vfio-ims demo needs none",
            ) from error

    def __str__(self) -> str:
        options = "".join(f",{key}={value}" if value else f",{key}" for key, value in self.options.items())
        return f"{'' if self.mount == 'kernel' else self.mount + ':'}{self.target}{options}"


def open_port(name: str | Name, *, share: Device | None = None, platform: Platform | None = None) -> DevicePort:
    """Open the port that ``name`` stands for. ``share``: join that device's address space (and platform)."""
    parsed = name if isinstance(name, Name) else Name.parse(name)
    if parsed.mount == "kernel":
        from vfio_ims.backends.kernel.opening import open_kernel

        chosen = _options(_KERNEL, parsed.options)
        space = None if share is None else share.port.space
        token = str(chosen["vf_token"]) or None
        return open_kernel(parsed.target, iommu=str(chosen["iommu"]), space=space, vf_token=token)
    if parsed.mount == "replay":
        return _open_replay(parsed, share)
    return _open_software(parsed, share, platform)


def _open_replay(name: Name, share: Device | None) -> DevicePort:
    from vfio_ims.tracing.replay import ReplayDevice

    if share is not None:
        raise UsageError(f"open {name}", why="a recording is of one device, which shares its address space with none")
    chosen = _options(_REPLAY, name.options)
    masks = {register: -1 for register in str(chosen["ignore"]).split("+") if register}
    return ReplayDevice(name.target, str(name), order=str(chosen["order"]), masks=masks)


def _options(known: Mapping[str, Option], given: Mapping[str, str]) -> dict[str, Value]:
    return parse_options(known, {key: value or "yes" for key, value in given.items()})


def _open_software(name: Name, share: Device | None, platform: Platform | None) -> DevicePort:
    from vfio_ims.backends.software.device import SoftwareDevice
    from vfio_ims.backends.software.in_process import InProcessLink
    from vfio_ims.backends.software.space import SoftwareAddressSpace
    from vfio_ims.families import family_of_model
    from vfio_ims.platform import Platform as SoftwarePlatform

    ours = {key: value for key, value in name.options.items() if key in _PLATFORM}
    theirs = {key: value or "yes" for key, value in name.options.items() if key not in _PLATFORM}
    space = None
    if share is not None:
        port = share.port
        if not isinstance(port, SoftwareDevice) or not isinstance(port.space, SoftwareAddressSpace):
            why = f"{share.name} is not on a software platform, so {name} cannot share its address space"
            raise UsageError(f"open {name}", why=why)
        platform, space = port.platform, port.space
    chosen = _options(_PLATFORM, ours)
    requester = _requester(str(chosen["bdf"]))
    if platform is None:
        platform = SoftwarePlatform(
            kind=str(chosen["platform"]),
            merge=str(chosen["merge"]),  # type: ignore[arg-type]
            remapping=bool(chosen["remapping"]),
            dynamic_msix=bool(chosen["dynamic"]),
            msix_mappable=bool(chosen["mappable"]),
            seed=int(chosen["seed"]) or None,
        )
    if name.mount == "mock":
        kind = family_of_model(name.target).load_model(name.target)
        known = [*_PLATFORM, *kind.common_options, *kind.options]
        for key in theirs.keys() - set(known):
            raise UsageError(f"open {name}", why=explain_unknown("option", key, known))
        model = kind(str(name), **theirs)
        return SoftwareDevice(InProcessLink(model), platform, str(name), space, requester=requester)
    if theirs:
        raise UsageError(f"open {name}", why=explain_unknown("option of vfio-user:", next(iter(theirs)), _PLATFORM))
    from vfio_ims.vfio_user.client import SocketLink

    return SoftwareDevice(SocketLink(name.target), platform, str(name), space, requester=requester)


def _requester(bdf: str) -> int | None:
    """The 16-bit requester id of a function on the software platform; None: the next free one."""
    from vfio_ims.pci.address import PciAddress

    if not bdf:
        return None
    address = PciAddress.parse(bdf)
    return address.bus << 8 | address.devfn


def open_device(name: str | Name, *, share: Device | None = None, platform: Platform | None = None) -> Device:
    """Open the bare device called ``name``; no driver runs. See the module's text for names.

    Opening through VFIO resets the function where it can and leaves bus mastering off.
    """
    parsed = name if isinstance(name, Name) else Name.parse(name)
    kind = str(_DONORS.parse("donors", parsed.options.get("donors", "auto")))
    port = open_port(parsed, share=share, platform=platform)
    try:
        followers = opened(port)
        device = Device(port, host_config=_host_config(parsed, port), donors=kind)
    except BaseException:
        port.close()
        raise
    for follow in followers:
        follow(device)
    if share is not None:
        _ = share.dma, device.dma  # both hold the space from now on: its buffers stay until both are closed
    return device


def _host_config(name: Name, port: DevicePort) -> Callable[[int, int], bytes] | None:
    """A reader of the host's own view of config space; None where it is not at hand."""
    if name.mount == "kernel":
        from vfio_ims.device.msi_registers import sysfs_config

        given = name.options.get("config")
        return None if given is None else sysfs_config(int(_KERNEL["config"].parse("config", given)), name.target)
    if name.mount == "replay":
        return None
    from vfio_ims.backends.software.device import SoftwareDevice

    at_hand = _PLATFORM["config"].parse("config", name.options.get("config") or "yes")
    return port.host_config if at_hand and isinstance(port, SoftwareDevice) else None


def open_fd(
    name: str | None = None,
    *,
    device: int | None = None,
    iommufd: int | None = None,
    group: int | None = None,
    container: int | None = None,
    config: int | None = None,
) -> Device:
    """Open a function through descriptors that a privileged program opened and passed; no node is opened for it.

    ``device`` with ``iommufd``: the function's own node, bound already or not. ``group``, with ``device`` and
    ``container`` where it has them. What is not passed of /dev/iommu and /dev/vfio/vfio is opened here. ``name``: the
    PCI address, needed where the descriptors leave it open (a group of several functions).

    ``config``: of the function's ``config`` in sysfs, opened by root, for donors from MSI; it stays the caller's.

    On success the other descriptors are the device's, and are closed with it; where it fails they stay the caller's.
    Opening a descriptor of a node that is not bound yet resets the function where it can. UsageError for descriptors
    that do not belong together; else the errors of ``open_device``.
    """
    from vfio_ims.backends.kernel.passed import Passed, open_passed

    port = open_passed(name, Passed(device, group, container, iommufd))
    try:
        from vfio_ims.device.msi_registers import sysfs_config

        return Device(port, host_config=None if config is None else sysfs_config(config, port.name))
    except BaseException:
        port.close()
        raise
