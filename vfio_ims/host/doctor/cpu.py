# SPDX-License-Identifier: Apache-2.0
"""The processor's instructions for portals."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vfio_ims.host.doctor.result import Result, Status
from vfio_ims.host.guest import is_arm64

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine

__all__ = ["check"]

GROUP = "processor"


def check(machine: Machine) -> list[Result]:
    if is_arm64(machine):
        return [_store_of_64_bytes(machine)]
    match = re.search(r"^flags\s*:(.*)$", machine.text("/proc/cpuinfo") or "", re.MULTILINE)
    if match is None:
        evidence = "/proc/cpuinfo lists no flags (no x86 processor)"
        return [Result(GROUP, "MOVDIR64B", Status.UNKNOWN, evidence, fix="grep movdir64b /proc/cpuinfo")]
    flags = set(match[1].split())
    results = []
    if "movdir64b" in flags:
        results.append(Result(GROUP, "MOVDIR64B", Status.OK, "the processor has it"))
    else:
        cause = "no 64 bytes at once: no work reaches a dedicated queue of real DSA or IAA (models take it in pieces)"
        fix = "a processor that has it (Tiger Lake, Sapphire Rapids, Zen 5); in a VM, a CPU model that passes it on"
        results.append(Result(GROUP, "MOVDIR64B", Status.WARN, "the processor has no movdir64b", cause, fix))
    if "enqcmd" in flags:
        evidence = "the processor has it; behind VFIO it is not used: it would kill the process"
        results.append(Result(GROUP, "ENQCMD", Status.OK, evidence))
    else:
        cause = (
            "nothing is lost: behind VFIO it could not be used, shared queues are filled through their limited portals"
        )
        fix = "nothing to do"
        results.append(Result(GROUP, "ENQCMD", Status.NOTE, "the processor has no enqcmd", cause, fix))
    return results


def _store_of_64_bytes(machine: Machine) -> Result:
    """As Linux shows HWCAP3_LS64 (arch/arm64/kernel/cpuinfo.c; the word is recalled, not re-read)."""
    match = re.search(r"^Features\s*:(.*)$", machine.text("/proc/cpuinfo") or "", re.MULTILINE)
    if match and "ls64" in match[1].split():
        evidence = "the processor has it; whether a device takes it, only the device knows"
        return Result(GROUP, "ST64B", Status.OK, evidence)
    cause = "no 64 bytes at once: a device that wants them cannot be used here (models take them in pieces)"
    evidence = "the processor has no ls64, or the kernel is too old to say"
    return Result(GROUP, "ST64B", Status.NOTE, evidence, cause, "nothing to do")
