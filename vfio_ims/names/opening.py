# SPDX-License-Identifier: Apache-2.0
"""Names to devices: the port that a name stands for, what follows it (faults, traces), the device over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.device import Device
from vfio_ims.errors import UsageError
from vfio_ims.names.name import Name
from vfio_ims.names.options import DONORS, KERNEL, PLATFORM, REPLAY, parsed_options
from vfio_ims.names.software import open_software
from vfio_ims.tracing.opening import opened

if TYPE_CHECKING:
    from vfio_ims.faults import Fault
    from vfio_ims.platform import Platform
    from vfio_ims.ports.device import DevicePort


def open_device(name: str | Name, *, share: Device | None = None, platform: Platform | None = None) -> Device:
    """Open the bare device called ``name``; no driver runs. The module's text lists the names.

    Opening through VFIO resets the function where it can and leaves bus mastering off. SetupError, AccessDenied and
    DeviceBusy say what is in the way. ``share``: a device whose I/O address space this one joins, so that both see the
    same buffers. ``platform``: the software platform of a mock or vfio-user device, to put several on one; its options
    in the name are then not used.
    """
    parsed = name if isinstance(name, Name) else Name.parse(name)
    parsed, faults = _apart(parsed)
    kind = str(DONORS.parse("donors", parsed.options.get("donors", "auto")))
    port = open_port(parsed, share=share, platform=platform)
    try:
        if faults:
            from vfio_ims.faults.injecting import inject_named

            inject_named(port, faults)
        followers = opened(port)
        device = Device(port, host_config=_host_config(parsed, port), donors=kind)
    except BaseException:
        port.close()
        raise
    try:
        for follow in followers:
            follow(device)
        if share is not None:
            _ = share.dma, device.dma  # both hold the space from now on: its buffers stay until both are closed
    except BaseException:
        device.close()
        raise
    return device


def open_port(name: str | Name, *, share: Device | None = None, platform: Platform | None = None) -> DevicePort:
    """Open the port that ``name`` stands for. ``share``: join that device's address space (and platform)."""
    parsed = name if isinstance(name, Name) else Name.parse(name)
    if parsed.mount == "kernel":
        from vfio_ims.backends.kernel.opening import open_kernel

        chosen = parsed_options(KERNEL, parsed.options)
        space = None if share is None else share.port.space
        token = str(chosen["vf_token"]) or None
        return open_kernel(parsed.target, iommu=str(chosen["iommu"]), space=space, vf_token=token)
    if parsed.mount == "replay":
        return _open_replay(parsed, share)
    return open_software(parsed, share, platform)


def _open_replay(name: Name, share: Device | None) -> DevicePort:
    from vfio_ims.tracing.replay import ReplayDevice

    if share is not None:
        raise UsageError(f"open {name}", why="a recording is of one device, which shares its address space with none")
    chosen = parsed_options(REPLAY, name.options)
    masks = {register: -1 for register in str(chosen["ignore"]).split("+") if register}
    return ReplayDevice(name.target, str(name), order=str(chosen["order"]), masks=masks)


def _apart(name: Name) -> tuple[Name, list[Fault]]:
    """A name without its faults, and those. UsageError for one that is none."""
    if "fault" not in name.options:
        return name, []
    from vfio_ims.faults import parse_faults

    kept = {key: value for key, value in name.options.items() if key != "fault"}
    return Name(name.mount, name.target, kept), parse_faults(name.options["fault"])


def _host_config(name: Name, port: DevicePort) -> Callable[[int, int], bytes] | None:
    """A reader of the host's own view of config space; None where it is not at hand."""
    if name.mount == "kernel":
        from vfio_ims.device.msi_registers import sysfs_config

        given = name.options.get("config")
        return None if given is None else sysfs_config(int(KERNEL["config"].parse("config", given)), name.target)
    if name.mount == "replay":
        return None
    from vfio_ims.backends.software.device import SoftwareDevice

    at_hand = PLATFORM["config"].parse("config", name.options.get("config") or "yes")
    return port.host_config if at_hand and isinstance(port, SoftwareDevice) else None
