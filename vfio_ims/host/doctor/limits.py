# SPDX-License-Identifier: Apache-2.0
"""Locked memory and hugepages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.host.doctor.result import Result, Status

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine

__all__ = ["check"]

GROUP = "memory"


def check(machine: Machine, needed: int) -> list[Result]:
    return [_memlock(machine, needed), _hugepages(machine, needed)]


def _size(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:g} {name}" if count % unit == 0 else f"{count / unit:.1f} {name}"
    return f"{counted(count, 'byte')}"


def _memlock(machine: Machine, needed: int) -> Result:
    match = re.search(r"^Max locked memory +(\w+)", machine.text("/proc/self/limits") or "", re.MULTILINE)
    if match is None:
        return Result(GROUP, "memlock", Status.UNKNOWN, "/proc/self/limits cannot be read", fix="ulimit -l")
    status = machine.text("/proc/self/status") or ""
    locked, pinned = (
        int(found[1]) << 10 if (found := re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)) else 0
        for key in ("VmLck", "VmPin")
    )
    if match[1] == "unlimited":
        return Result(GROUP, "memlock", Status.OK, f"no limit; {_size(needed)} needed")
    limit = int(match[1])
    used = max(locked, pinned)
    figures = f"limit {_size(limit)}, {_size(used)} in use, {_size(needed)} needed"
    if machine.user.locks_freely:
        return Result(GROUP, "memlock", Status.OK, f"{figures}; CAP_IPC_LOCK goes past the limit")
    if used + needed <= limit:
        return Result(GROUP, "memlock", Status.OK, figures)
    cause = "DMA memory is pinned, and counted: type1 by process, iommufd by user with all its processes"
    kib = -(-(used + needed) // 1024)
    fix = (
        f"in this shell: ulimit -l {kib} (the hard limit permitting); for good: echo '@vfio - memlock {kib}' | sudo tee"
        f" /etc/security/limits.d/vfio.conf, and log in again; in a service: LimitMEMLOCK={kib}K"
    )
    return Result(GROUP, "memlock", Status.FAIL, figures, cause, fix)


def _hugepages(machine: Machine, needed: int) -> Result:
    info = machine.text("/proc/meminfo") or ""
    values = {
        key: int(found[1]) if (found := re.search(rf"^{key}:\s+(\d+)", info, re.MULTILINE)) else 0
        for key in ("HugePages_Total", "HugePages_Free", "Hugepagesize")
    }
    if not values["Hugepagesize"]:
        return Result(GROUP, "hugepages", Status.UNKNOWN, "/proc/meminfo does not say", fix="grep Huge /proc/meminfo")
    size = values["Hugepagesize"] << 10
    evidence = f"{values['HugePages_Free']} of {counted(values['HugePages_Total'], 'page')} of {_size(size)} are free"
    wanted = -(-needed // size)
    if values["HugePages_Free"] >= wanted:
        return Result(GROUP, "hugepages", Status.OK, evidence)
    cause = "not needed; large DMA buffers of them take fewer IOMMU mappings and fewer misses"
    return Result(GROUP, "hugepages", Status.NOTE, evidence, cause, f"sudo sysctl vm.nr_hugepages={wanted}")
