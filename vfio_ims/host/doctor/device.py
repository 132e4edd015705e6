# SPDX-License-Identifier: Apache-2.0
"""One function: from whether it answers to whether it may use IMS."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vfio_ims.backends.kernel_claim import claimed_by
from vfio_ims.host.doctor.access import who_may
from vfio_ims.host.doctor.result import Result, Status
from vfio_ims.host.holders import Holders, nodes_of
from vfio_ims.host.state import blockers, is_vfio_driver
from vfio_ims.host.uses import Uses
from vfio_ims.pci.capabilities import AdvancedErrorReporting
from vfio_ims.sysfs.attributes import read_text

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["check"]

_SYS = "/sys/bus/pci/devices"


def check(machine: Machine, function: Function) -> list[Result]:
    """All checks of ``function``. Reads sysfs and /proc only: the device is not touched."""
    group = str(function)
    return [
        _answers(function, group),
        _driver(machine, function, group),
        _viable(function, group),
        *_nodes(machine, function, group),
        _free(machine, function, group),
        _virtual(machine, function, group),
        _reset(machine, function, group),
        _power(function, group),
        _link(function, group),
        _errors(function, group),
        *_verdict(function, group),
    ]


def _answers(function: Function, group: str) -> Result:
    config = function.config
    if config is None:
        fix = f"ls -l {_SYS}/{function}"
        return Result(group, "answers", Status.UNKNOWN, "its config space cannot be read", fix=fix)
    if not config.absent:
        return Result(group, "answers", Status.OK, f"{function.id}, {len(config)} bytes of config space")
    cause = "it has fallen off the bus, or is in D3cold or in reset"
    fix = f"echo 1 | sudo tee {_SYS}/{function}/remove; echo 1 | sudo tee /sys/bus/pci/rescan; else a power cycle"
    return Result(group, "answers", Status.FAIL, "its vendor id reads as all ones", cause, fix)


def _driver(machine: Machine, function: Function, group: str) -> Result:
    if is_vfio_driver(function.driver):
        return Result(group, "driver", Status.OK, f"bound to {function.driver}")
    evidence = f"bound to {function.driver}" if function.driver else "bound to no driver"
    uses = Uses(machine).of(function)
    cause = "only a VFIO driver hands it to programs" + (f"; in use: {'; '.join(uses)}" if uses else "")
    return Result(group, "driver", Status.FAIL, evidence, cause, f"sudo vfio-ims bind {function}")


def _viable(function: Function, group: str) -> Result:
    its = function.iommu_group
    if its is None:
        cause = "no IOMMU stands in front of it"
        fix = "turn VT-d or AMD-Vi on in the firmware; intel_iommu=on on the kernel's command line"
        return Result(group, "IOMMU group", Status.FAIL, "it is in no IOMMU group", cause, fix)
    if its.without_iommu:
        cause = "in no-IOMMU mode the device could write any memory; it is never used here"
        fix = f"sudo vfio-ims unbind {function}; turn the IOMMU on; sudo vfio-ims bind {function}"
        return Result(group, "IOMMU group", Status.FAIL, f"group {its.number} is VFIO's no-IOMMU group", cause, fix)
    others = blockers(function)
    if others:
        named = ", ".join(f"{one} (driver {one.driver})" for one in others)
        cause = "a group is handed out as a whole, and a kernel driver has these"
        fix = f"sudo vfio-ims bind {function} --group, or sudo vfio-ims unbind {' '.join(map(str, others))}"
        return Result(group, "IOMMU group", Status.FAIL, f"group {its.number} has {named}", cause, fix)
    count = len(its.members)
    alone = "it alone" if count == 1 else f"{count} functions, none of which blocks it"
    return Result(group, "IOMMU group", Status.OK, f"group {its.number}: {alone}")


def _nodes(machine: Machine, function: Function, group: str) -> list[Result]:
    if not is_vfio_driver(function.driver):
        return []
    results = []
    found = [(name, machine.node(name)) for name in nodes_of(function)]
    for name, node in found:
        if node is None:
            cause = "udevd or devtmpfs has not made it, or the container was not given it"
            fix = f"ls -l /dev/vfio; in a container: --device /dev/{name}"
            one_there = any(other is not None for _, other in found)
            status = Status.WARN if one_there else Status.FAIL
            results.append(Result(group, f"/dev/{name}", status, f"/dev/{name} is not there", cause, fix))
        elif node.accessible:
            results.append(Result(group, f"/dev/{name}", Status.OK, str(node)))
        else:
            one_opens = any(other is not None and other.accessible for _, other in found)
            status = Status.WARN if one_opens else Status.FAIL
            results.append(Result(group, f"/dev/{name}", status, str(node), *who_may(machine, node)))
    return results


def _free(machine: Machine, function: Function, group: str) -> Result:
    holders = Holders.scan(machine)
    users = [str(user) for user in holders.of(function)] or [
        user for user in (claimed_by(str(function), machine.dev),) if user is not None
    ]
    if users:
        cause = "a function is opened by one program at a time"
        pid = users[0].split()[1]
        fix = f"end it (kill {pid}), or have it hand the device over" if pid.isdecimal() else "end it"
        return Result(group, "free", Status.FAIL, f"opened by {', '.join(users)}", cause, fix)
    if holders.unseen and is_vfio_driver(function.driver):
        evidence = f"no process of this user has it open; {holders.unseen} of others could not be looked at"
        return Result(group, "free", Status.UNKNOWN, evidence, fix=f"sudo vfio-ims doctor {function}")
    return Result(group, "free", Status.OK, "no program has it open")


def _virtual(machine: Machine, function: Function, group: str) -> Result:
    if function.physical_function is None:
        return Result(group, "SR-IOV", Status.OK, "it is no virtual function")
    parent = machine.function(function.physical_function)
    driver = None if parent is None else parent.driver
    evidence = f"a virtual function of {function.physical_function} (driver {driver or 'none'})"
    if not is_vfio_driver(driver):
        return Result(group, "SR-IOV", Status.OK, evidence)
    cause = "its physical function is on VFIO too: both openers must show the same VF token"
    fix = f"open both with ,vf_token=UUID in their names; or sudo vfio-ims restore {function.physical_function}"
    return Result(group, "SR-IOV", Status.WARN, evidence, cause, fix)


def _reset(machine: Machine, function: Function, group: str) -> Result:
    methods = function.reset_methods
    if methods is None and machine.kernel >= (5, 15):
        methods = ()  # the file is only there where there is a way
    if methods is None:
        evidence = "the kernel does not tell (before 5.15)" + (", but offers a reset" if function.resettable else "")
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
        return Result(group, "power", Status.OK if state else Status.UNKNOWN, state or "the kernel does not tell")
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


def _verdict(function: Function, group: str) -> list[Result]:
    from vfio_ims.host.description import describe

    described = describe(function)
    if described is None:
        return []
    results = []
    for link in described.verdict.links:
        if not link.asked:
            continue
        answer = link.evidence.answer
        status = {True: Status.OK, None: Status.UNKNOWN}.get(answer, Status.FAIL if link.required else Status.WARN)
        cause = {"no": "without it IMS interrupts cannot work"}.get(link.word, "") if link.required else ""
        if link.name in ("SIOV DVSEC", "IMS bit") and answer is False:
            status, cause = Status.NOTE, "it is a hint only: the device's driver may know better"
        fix = "" if status is Status.OK else link.evidence.would_tell or f"vfio-ims show {function} --live"
        results.append(Result(group, f"IMS: {link.name}", status, link.evidence.text, cause, fix))
    unasked = [link.name for link in described.verdict.links if not link.asked]
    if unasked:
        evidence = f"{', '.join(unasked)}: only the opened device tells"
        fix = f"vfio-ims show {function} --live (resets it)"
        results.append(Result(group, "IMS verdict", Status.UNKNOWN, evidence, fix=fix))
    return results
