# SPDX-License-Identifier: Apache-2.0
"""The kernel's version, its lockdown, and whether this is a container."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vfio_ims.host.doctor.result import Result, Status
from vfio_ims.host.guest import in_guest

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine

__all__ = ["check", "container"]

GROUP = "kernel"
# What a version brought, and what is missed without it (kernel commits named in docs/ims.md).
_OLDEST = (4, 16)  # MSIX_MAPPABLE: without it no donor's message can be read
_STEPS = (
    ((6, 5), "MSI-X vectors are added one at a time", "all MSI-X vectors are taken up front"),
    ((6, 6), "functions have nodes of their own (cdev)", "there is only the group interface, and no PASIDs"),
    ((6, 15), "PASIDs can be attached where the IOMMU takes them", "no PASIDs"),
)


def check(machine: Machine) -> list[Result]:
    return [_version(machine), _lockdown(machine), _container(machine), _guest(machine)]


def _version(machine: Machine) -> Result:
    name, version = f"Linux {machine.release}", machine.kernel
    if version == (0, 0):
        why = "/proc/sys/kernel/osrelease cannot be read"
        return Result(GROUP, "version", Status.UNKNOWN, why, fix="uname -r")
    if version < _OLDEST:
        cause = "VFIO does not let a program see the MSI-X table, so no message can be copied into a slot"
        return Result(GROUP, "version", Status.FAIL, name, cause, "a kernel of 4.16 or later; 6.15 has everything")
    missing = [(since, lack) for since, _, lack in _STEPS if version < since]
    if missing:
        cause = "; ".join(f"before {since[0]}.{since[1]}: {lack}" for since, lack in missing)
        status = Status.WARN if version < (6, 6) else Status.NOTE
        return Result(GROUP, "version", status, name, cause, "a kernel of 6.15 or later has all that is used here")
    return Result(GROUP, "version", Status.OK, f"{name}: " + "; ".join(brought for _, brought, _ in _STEPS))


def _lockdown(machine: Machine) -> Result:
    text = machine.text("/sys/kernel/security/lockdown")
    if text is None:
        return Result(GROUP, "lockdown", Status.OK, "the kernel has no lockdown")
    match = re.search(r"\[(\w+)\]", text)
    mode = match[1] if match else text
    if mode == "none":
        return Result(GROUP, "lockdown", Status.OK, "lockdown is none")
    cause = "VFIO works; writes to config space and BARs through sysfs are refused, and only signed modules load"
    fix = "turn Secure Boot off in the firmware, or leave lockdown= off the kernel's command line, if you need those"
    return Result(GROUP, "lockdown", Status.WARN, f"lockdown is {mode}", cause, fix)


def container(machine: Machine) -> str | None:
    """What kind of container this is, or None."""
    named = machine.text("/run/systemd/container")
    if named:
        return named
    if (machine.root / ".dockerenv").exists():
        return "docker"
    if (machine.root / "run/.containerenv").exists():
        return "podman"
    groups = machine.text("/proc/1/cgroup") or ""
    for name in ("docker", "kubepods", "lxc", "libpod", "containerd"):
        if name in groups:
            return name
    return None


def _container(machine: Machine) -> Result:
    kind = container(machine)
    if kind is None:
        return Result(GROUP, "container", Status.OK, "no container seen")
    cause = (
        "binding is refused where sysfs is read-only, udev's events do not arrive, and only nodes passed in are here"
    )
    fix = "bind on the host; start with --device /dev/vfio/vfio --device /dev/vfio/GROUP (or /dev/vfio/devices/vfioN"
    fix += " and /dev/iommu) and --ulimit memlock=-1"
    return Result(GROUP, "container", Status.NOTE, f"this is a container ({kind})", cause, fix)


def _guest(machine: Machine) -> Result:
    if not in_guest(machine):
        return Result(GROUP, "virtual machine", Status.OK, "no hypervisor seen")
    cause = "firmware, IOMMU and processor are what the hypervisor makes of them: advice is for the VM's administrator"
    return Result(
        GROUP, "virtual machine", Status.NOTE, "the processor has the flag hypervisor", cause, "nothing to do"
    )
