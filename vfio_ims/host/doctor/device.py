# SPDX-License-Identifier: Apache-2.0
"""One function: from whether it answers to whether it may use IMS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.backends.kernel.claim import claimed_by
from vfio_ims.counted import counted
from vfio_ims.host.doctor import health
from vfio_ims.host.doctor.access import who_may
from vfio_ims.host.doctor.result import Result, Status
from vfio_ims.host.guest import NO_IOMMU_SWITCH, iommu_on, remapping_on
from vfio_ims.host.holders import Holders, nodes_of
from vfio_ims.host.in_use import Uses
from vfio_ims.host.state import bridge
from vfio_ims.sysfs.kernel_drivers import group_blockers, is_vfio_driver

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["check"]

_SYS = "/sys/bus/pci/devices"


def check(machine: Machine, function: Function) -> list[Result]:
    """All checks of ``function``. Reads sysfs and /proc only: the device is not touched."""
    group = str(function)
    kind = bridge(function)
    if kind is not None:
        cause = "bridges stay with the kernel: no program has a use for one"
        fix = "name a device: vfio-ims list shows those that may have IMS"
        return [_answers(function, group), Result(group, "driver", Status.FAIL, f"it is a {kind}", cause, fix)]
    return [
        _answers(function, group),
        _driver(machine, function, group),
        _viable(machine, function, group),
        *_nodes(machine, function, group),
        _free(machine, function, group),
        _virtual(machine, function, group),
        *health.check(machine, function, group),
        *_verdict(machine, function, group),
    ]


def _answers(function: Function, group: str) -> Result:
    config = function.config
    if config is None:
        fix = f"ls -l {_SYS}/{function}"
        return Result(group, "answers", Status.UNKNOWN, "its config space cannot be read", fix=fix)
    if not config.absent:
        return Result(group, "answers", Status.OK, f"{function.id}, {counted(len(config), 'byte')} of config space")
    cause = "it has fallen off the bus, or is in D3cold or in reset"
    fix = f"echo 1 | sudo tee {_SYS}/{function}/remove; echo 1 | sudo tee /sys/bus/pci/rescan; else a power cycle"
    return Result(group, "answers", Status.FAIL, "its vendor id reads as all ones", cause, fix)


def _driver(machine: Machine, function: Function, group: str) -> Result:
    if is_vfio_driver(function.driver):
        return Result(group, "driver", Status.OK, f"bound to {function.driver}")
    evidence = f"bound to {function.driver}" if function.driver else "bound to no driver"
    uses = Uses(machine).of(function)
    cause = "only a VFIO driver hands it to programs" + (f"; in use: {'; '.join(uses)}" if uses else "")
    first = "an IOMMU first, see below; then " if function.iommu_group is None else ""
    return Result(group, "driver", Status.FAIL, evidence, cause, f"{first}sudo vfio-ims bind {function}")


def _viable(machine: Machine, function: Function, group: str) -> Result:
    its = function.iommu_group
    if its is None:
        cause = "no IOMMU stands in front of it"
        fix = (
            f"{iommu_on(machine)}. Giving up isolation, for a trusted device in a test VM: echo Y | sudo tee"
            f" {NO_IOMMU_SWITCH}; sudo vfio-ims bind {function}; as root {function},iommu=none"
        )
        return Result(group, "IOMMU group", Status.FAIL, "it is in no IOMMU group", cause, fix)
    if its.without_iommu:
        cause = "in no-IOMMU mode the device could write any memory: it is opened only as root, and by name"
        fix = (
            f"sudo vfio-ims unbind {function}; turn the IOMMU on; sudo vfio-ims bind {function}. Or, for a trusted"
            f" device in a test VM: {function},iommu=none"
        )
        return Result(group, "IOMMU group", Status.FAIL, f"group {its.number} is VFIO's no-IOMMU group", cause, fix)
    others = group_blockers(function)
    if others:
        named = ", ".join(f"{one} (driver {one.driver})" for one in others)
        cause = "a group is handed out as a whole, and a kernel driver has these"
        fix = f"sudo vfio-ims bind {function} --group, or sudo vfio-ims unbind {' '.join(map(str, others))}"
        return Result(group, "IOMMU group", Status.FAIL, f"group {its.number} has {named}", cause, fix)
    count = len(its.members)
    alone = "it alone" if count == 1 else f"{counted(count, 'function')}, none of which blocks it"
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
    claimed = claimed_by(str(function), machine.dev)
    users = holders.of(function) or (() if claimed is None else (claimed,))
    if users:
        cause = "a function is opened by one program at a time"
        pid = users[0].pid
        fix = f"end it (kill {pid}), or have it hand the device over" if pid else "end it"
        return Result(group, "free", Status.FAIL, f"opened by {', '.join(map(str, users))}", cause, fix)
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


def _verdict(machine: Machine, function: Function, group: str) -> list[Result]:
    from vfio_ims.host.description import describe

    described = describe(function)
    if described is None:
        return []
    verdict, results = described.verdict, []
    no_hint = verdict.link("SIOV DVSEC").evidence.answer is False
    for link in verdict.links:
        if not link.asked or (no_hint and link.name == "IMS bit"):  # no DVSEC: nothing to be said of its bit
            continue
        answer = link.evidence.answer
        status = {True: Status.OK, None: Status.UNKNOWN}.get(answer, Status.FAIL if link.required else Status.WARN)
        cause = {"no": "without it IMS interrupts cannot work"}.get(link.word, "") if link.required else ""
        fix = "" if status is Status.OK else link.evidence.to_find_out or f"vfio-ims show {function} --live"
        if link.required and answer is False:
            fix = "it cannot be fixed: use a function that has it (vfio-ims list)"
        elif link.name == "interrupt remapping" and answer is False:
            fix = remapping_on(machine)
        elif link.name in ("SIOV DVSEC", "IMS bit") and answer is False:
            status, cause = Status.NOTE, "it is a hint only: the device's driver may know better"
            fix = "" if verdict.usable is False else fix
        results.append(Result(group, f"IMS: {link.name}", status, link.evidence.text, cause, fix))
    unasked = [link.name for link in verdict.links if not link.asked]
    if unasked and verdict.usable is not False:
        evidence = f"{', '.join(unasked)}: only the opened device shows it"
        fix = f"vfio-ims show {function} --live (resets it)"
        results.append(Result(group, "IMS verdict", Status.UNKNOWN, evidence, fix=fix))
    return results
