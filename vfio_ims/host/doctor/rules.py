# SPDX-License-Identifier: Apache-2.0
"""udev, and the rules by which others than root may open devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.host.doctor.kernel import container
from vfio_ims.host.doctor.result import Result, Status
from vfio_ims.host.rules import GROUP as VFIO
from vfio_ims.host.rules_place import standing
from vfio_ims.host.udev import context, udev_running, why_missing
from vfio_ims.sysfs.attributes import entries

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine

__all__ = ["check", "judge_rules"]

GROUP = "permissions"


def check(machine: Machine) -> list[Result]:
    from vfio_ims.families import all_families
    from vfio_ims.host.rules import make_rules

    return [_udev(machine), *judge_rules(machine, make_rules(all_families()))]


def _udev(machine: Machine) -> Result:
    if not udev_running(machine.root):
        kind = container(machine)
        cause = f"this is a container ({kind})" if kind else "udevd is not installed, or not started"
        cause += ": no rule is applied, no event arrives, hotplug is seen by looking every second"
        fix = "let rules and events be the host's" if kind else "sudo apt install udev, or your system's package"
        return Result(
            GROUP, "udevd", Status.NOTE if kind else Status.WARN, "/run/udev/control is not there", cause, fix
        )
    if machine.live and context() is None:
        fix = "sudo apt install libudev1"
        return Result(GROUP, "udevd", Status.WARN, why_missing(), "names and events of udev are missed", fix)
    return Result(GROUP, "udevd", Status.OK, "udevd is running")


def judge_rules(machine: Machine, text: str, group: str = VFIO, *, even_for_root: bool = False) -> list[Result]:
    """The rules file against ``text``, the group, this user in it, and nodes that everybody may open.

    Root needs no rule, so that what is missing is no failure for it, unless ``even_for_root``: the rules themselves are
    asked about.
    """
    found = standing(machine, text, group)
    root = machine.user.uid == 0
    serious = Status.WARN if root and not even_for_root else Status.FAIL
    place = None if found.place is None else f"/{found.place.relative_to(machine.root)}"
    results = []
    if place is None:
        cause = "only root may open devices" if not root else "only root, as now, may open devices"
        results.append(Result(GROUP, "udev rules", serious, "no vfio-ims rules", cause, "sudo vfio-ims udev install"))
    elif not found.current:
        cause = "they are another version's, were edited, or are for other drivers than are installed now"
        fix = f"vfio-ims udev print | diff {place} - ; sudo vfio-ims udev install"
        status = Status.FAIL if even_for_root else Status.WARN
        results.append(Result(GROUP, "udev rules", status, f"{place} differs", cause, fix))
    else:
        results.append(Result(GROUP, "udev rules", Status.OK, f"{place} is as it should be"))
    if not found.group_exists:
        cause = "the rules give nodes to it, and udevd ignores a group that is not there"
        fix = f"sudo groupadd --system {group}; sudo udevadm trigger --subsystem-match=vfio"
        results.append(Result(GROUP, "group", serious, f"there is no group {group}", cause, fix))
    elif not found.member:
        user = machine.user.name
        if found.members_later:
            cause, fix = f"{user} was added after logging in", f"log out and in again, or: newgrp {group}"
        else:
            cause, fix = "only its members may open devices", f"sudo usermod -aG {group} {user}, and log in again"
        results.append(Result(GROUP, "group", Status.FAIL, f"this process is not in group {group}", cause, fix))
    else:
        which = "root needs no group" if root else f"this process is in group {group}"
        results.append(Result(GROUP, "group", Status.OK, which))
    results.append(_open_to_all(machine))
    return results


def _open_to_all(machine: Machine) -> Result:
    names = [f"vfio/{name}" for name in entries(machine.dev / "vfio") if name.isdecimal()]
    names += [f"vfio/devices/{name}" for name in entries(machine.dev / "vfio/devices")]
    if machine.nodes is not None:
        names = [path.removeprefix("/dev/") for path in machine.nodes if path != "/dev/vfio/vfio"]
    bad = [node for name in names if (node := machine.node(name)) is not None and node.mode & 0o006]
    if bad:
        cause = "every local user may drive the device, and what the IOMMU lets it reach"
        fix = f"sudo chmod o= {' '.join(node.path for node in bad)}; look for the rule: grep -r vfio /etc/udev/rules.d"
        return Result(GROUP, "open to all", Status.WARN, ", ".join(map(str, bad)), cause, fix)
    return Result(GROUP, "open to all", Status.OK, "no device's node is open to everybody")
