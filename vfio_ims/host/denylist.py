# SPDX-License-Identifier: Apache-2.0
"""Devices that vfio-pci refuses to take, unless it was loaded with ``disable_denylist=1``.

The list is compiled into vfio-pci (drivers/vfio/pci/vfio_pci.c, vfio_pci_dev_in_denylist) and cannot be read from a
running kernel. The QAT devices are on it since Linux 5.9; DSA and IAA of Sapphire Rapids since 6.9 (INTEL-SA-01084),
and in stable kernels of that time too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["SPR_IDS", "denied", "on_denylist"]

SPR_IDS = frozenset({(0x8086, 0x0B25), (0x8086, 0x0CFE)})
"""DSA and IAA of Sapphire Rapids: who may use one is as trusted as root (INTEL-SA-01084)."""

_QAT_IDS = frozenset((0x8086, device) for device in (0x0435, 0x0443, 0x19E2, 0x19E3, 0x37C8, 0x37C9))

WAY_OUT = (
    "echo 'options vfio-pci disable_denylist=1' | sudo tee /etc/modprobe.d/vfio-pci.conf, then"
    " sudo modprobe -r vfio-pci && sudo modprobe vfio-pci; built in: vfio_pci.disable_denylist=1 for the kernel"
)


def on_denylist(function: Function) -> bool:
    """Whether vfio-pci's list has this device, whatever the switch says."""
    return (function.vendor, function.device) in SPR_IDS | _QAT_IDS


def denied(function: Function, machine: Machine) -> str | None:
    """Why vfio-pci will refuse ``function`` here, or None where it will not (or is not loaded, so it is not known)."""
    if not on_denylist(function):
        return None
    switch = machine.parameter("vfio_pci", "disable_denylist")
    if switch is None:
        # Not loaded: the option is set in time. Loaded without it: older than 5.9, which has no list.
        return None
    if switch in ("Y", "1"):
        return None
    return f"vfio-pci's denylist has {function.id}, and disable_denylist is off"
