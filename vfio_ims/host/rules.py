# SPDX-License-Identifier: Apache-2.0
"""udev rules that let the members of a group open VFIO's nodes, made from the drivers' match tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.host.denylist import SPR_IDS

if TYPE_CHECKING:
    from vfio_ims.families import Family

__all__ = ["GROUP", "RULES_NAME", "SYSUSERS_NAME", "make_rules", "make_sysusers", "own_families"]

GROUP = "vfio"
RULES_NAME = "60-vfio-ims.rules"
SYSUSERS_NAME = "vfio-ims.conf"

_UNASSIGNED = "1234"
"""A vendor id that PCI-SIG has not assigned: of devices that are in software only, as drivers/minimal's.

To use such a one in a VM, ask for any device.
"""

_HEAD = """\
# Made by: vfio-ims udev print. To change it, change the ids of a driver (drivers/*/__init__.py).
#
# Members of group {group} may open the nodes of these devices, once they are bound to a VFIO driver: vfio-ims bind.
# No node of a device is ever open to everybody. What a device can reach is bounded by the IOMMU, not by these rules.

ACTION=="remove", GOTO="vfio_ims_end"

# The two front doors. By themselves they open no device: the first is 0666 by the kernel's design.
SUBSYSTEM=="misc", KERNEL=="vfio", MODE="0666"
SUBSYSTEM=="misc", KERNEL=="iommu", GROUP="{group}", MODE="0660"
"""
_TAIL = '\nLABEL="vfio_ims_end"\n'


def own_families() -> list[Family]:
    """The families of this package: what the committed rules are made from."""
    from vfio_ims.families import all_families

    return [family for family in all_families() if family.package.startswith("vfio_ims.drivers.")]


def make_rules(families: Iterable[Family], group: str = GROUP, *, any_device: bool = False) -> str:
    """The rules file for the devices of ``families``, or for whatever is bound to VFIO (``any_device``)."""
    access = f'GROUP="{group}", MODE="0660"'
    text = _HEAD.format(group=group)
    if any_device:
        text += (
            "\n# Every device that is bound to a VFIO driver, of whatever kind.\n"
            f'SUBSYSTEM=="vfio-dev", {access}\n'
            f'SUBSYSTEM=="vfio", KERNEL=="[0-9]*", {access}\n'
        )
    else:
        for family in sorted(families, key=lambda family: family.name):
            ids = [one.lower() for one in family.ids if one[:4] != _UNASSIGNED]
            if ids:
                text += _section(family, ids, access)
    return text + _TAIL


def _section(family: Family, ids: Sequence[str], access: str) -> str:
    lines = ["", f"# {family.name}: {family.title or 'no title'}"]
    if any(_number(one) in SPR_IDS for one in ids):
        lines += [
            "# 8086:0b25 and 8086:0cfe are DSA and IAA of Sapphire and Emerald Rapids: members of the group are as",
            "# trusted as root where there is one (INTEL-SA-01084), which is why vfio-pci's denylist has them.",
        ]
    vendors: dict[str, list[str]] = {}
    for one in ids:
        vendor, device = one.split(":")
        vendors.setdefault(vendor, []).append(device)
    for vendor, devices in vendors.items():
        own = "|".join(f"0x{device}" for device in devices)
        lines.append(f'SUBSYSTEM=="vfio-dev", ATTRS{{vendor}}=="0x{vendor}", ATTRS{{device}}=="{own}", {access}')
        # A group's node has no parent in sysfs: the group's members show what is in it.
        known = " ".join(f"-e v0000{vendor.upper()}d0000{device.upper()}" for device in devices)
        program = f"/bin/sh -c 'cat /sys/kernel/iommu_groups/%k/devices/*/modalias | grep -q {known}'"
        lines.append(f'SUBSYSTEM=="vfio", KERNEL=="[0-9]*", PROGRAM=="{program}", {access}')
    return "\n".join(lines) + "\n"


def _number(text: str) -> tuple[int, int]:
    vendor, device = text.split(":")
    return int(vendor, 16), int(device, 16)


def make_sysusers(group: str = GROUP) -> str:
    """The file that has systemd make the group."""
    return f"# Made by: vfio-ims udev print --sysusers. See sysusers.d(5).\ng {group} - -\n"
