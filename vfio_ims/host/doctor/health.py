# SPDX-License-Identifier: Apache-2.0
"""How a function is: resets, power, link, errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vfio_ims.host.doctor.result import Result, Status
from vfio_ims.pci.capabilities import AdvancedErrorReporting
from vfio_ims.sysfs.attributes import read_text

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["check"]

_SYS = "/sys/bus/pci/devices"


def check(machine: Machine, function: Function, group: str) -> list[Result]:
    return [_reset(machine, function, group), _power(function, group), _link(function, group), _errors(function, group)]


def _reset(machine: Machine, function: Function, group: str) -> Result:
    methods = function.reset_methods
    if methods is None and machine.kernel >= (5, 15):
        methods = ()  # the file is only there where there is a way
    if methods is None:
        evidence = "the kernel does not say (before 5.15)" + (", but offers a reset" if function.resettable else "")
        return Result(group, "reset", Status.UNKNOWN, evidence, fix=f"ls {_SYS}/{function}/reset")
    if not methods:
        cause = "what one user leaves behind, the next one finds; a wedged device stays wedged"
        fix = f"look whether one was turned off: cat {_SYS}/{function}/reset_method. Else only its driver can"
        return Result(group, "reset", Status.WARN, "the kernel knows no way to reset it", cause, fix)
    if set(methods) <= {"bus", "cxl_bus"}:
        cause = "a bus reset takes every function of the bus along: VFIO does it only where one user has them all"
        fix = f"have all functions of {function.path.resolve().parent.name} bound to VFIO"
        return Result(group, "reset", Status.WARN, f"only by {', '.join(methods)}", cause, fix)
    return Result(group, "reset", Status.OK, f"by {', '.join(methods)}")


def _power(function: Function, group: str) -> Result:
    state = function.power_state
    if state in (None, "D0"):
        return Result(group, "power", Status.OK if state else Status.UNKNOWN, state or "the kernel does not say")
    cause = "opening it wakes it; until then its registers read as all ones"
    if state == "D3cold":
        cause = "it has no power: opening it may take a second, or fail"
    fix = f"echo on | sudo tee {_SYS}/{function}/power/control; or vfio-pci with disable_idle_d3=1"
    return Result(group, "power", Status.NOTE if state != "D3cold" else Status.WARN, state or "", cause, fix)


def _link(function: Function, group: str) -> Result:
    link = function.link
    if link is None:
        return Result(group, "link", Status.OK, "no link of its own (integrated)")
    if link.reduced:
        cause = "the slot, a riser or the power saving of the link holds it back"
        fix = f"sudo lspci -vv -s {function} | grep LnkSta; reseat it, try another slot"
        return Result(group, "link", Status.NOTE, str(link), cause, fix)
    return Result(group, "link", Status.OK, str(link))


def _errors(function: Function, group: str) -> Result:
    counts = {}
    for kind in ("correctable", "nonfatal", "fatal"):
        match = re.search(r"TOTAL_ERR\w+ (\d+)", read_text(function.path / f"aer_dev_{kind}") or "")
        if match:
            counts[kind] = int(match[1])
    known = function.capabilities
    if not counts and known is not None and known.complete and known.find(AdvancedErrorReporting) is None:
        return Result(group, "errors", Status.OK, "it reports none (no AER capability)")
    if not counts:
        return Result(
            group, "errors", Status.UNKNOWN, "the kernel counts no errors for it (AER)", fix="dmesg | grep AER"
        )
    bad = {kind: count for kind, count in counts.items() if count}
    if not bad:
        return Result(group, "errors", Status.OK, "no error counted (AER)")
    cause = "since it was found; fatal and nonfatal ones are lost requests or a bad link"
    status = Status.WARN if set(bad) - {"correctable"} else Status.NOTE
    text = ", ".join(f"{count} {kind}" for kind, count in bad.items())
    return Result(group, "errors", status, text, cause, f"cat {_SYS}/{function}/aer_dev_*; dmesg | grep -i aer")
