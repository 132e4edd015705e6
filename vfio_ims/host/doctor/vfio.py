# SPDX-License-Identifier: Apache-2.0
"""VFIO's modules and options, iommufd, and the nodes that all devices share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.host.denylist import SPR_IDS, WAY_OUT, on_denylist
from vfio_ims.host.doctor.kernel import container
from vfio_ims.host.doctor.result import Result, Status
from vfio_ims.sysfs.attributes import entries

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["check"]

GROUP = "VFIO"
_ON = ("Y", "1")


def check(machine: Machine, function: Function | None) -> list[Result]:
    return [
        _driver(machine),
        _type1(machine),
        _iommufd(machine),
        _cdev(machine),
        _options(machine),
        _denylist(machine, function),
        _container_node(machine),
        _iommu_node(machine),
    ]


def _driver(machine: Machine) -> Result:
    drivers = [name for name in entries(machine.sys / "bus/pci/drivers") if "vfio" in name]
    if drivers:
        return Result(GROUP, "vfio-pci", Status.OK, f"the PCI bus has {', '.join(drivers)}")
    cause = "the module vfio-pci is not loaded"
    fix = "sudo modprobe vfio-pci; for every boot: echo vfio-pci | sudo tee /etc/modules-load.d/vfio-pci.conf"
    return Result(GROUP, "vfio-pci", Status.FAIL, "the PCI bus has no VFIO driver", cause, fix)


def _type1(machine: Machine) -> Result:
    if machine.module("vfio_iommu_type1"):
        return Result(GROUP, "type1", Status.OK, "the group interface is there: vfio_iommu_type1 is loaded")
    return Result(
        GROUP,
        "type1",
        Status.WARN,
        "vfio_iommu_type1 is not loaded",
        "the group interface (iommu=type1) cannot be used",
        "sudo modprobe vfio_iommu_type1; or use iommu=iommufd",
    )


def _iommufd(machine: Machine) -> Result:
    if machine.module("iommufd") or (machine.sys / "class/misc/iommu").exists():
        return Result(GROUP, "iommufd", Status.OK, "iommufd is there")
    cause = "only the group interface can be used, and no PASIDs"
    fix = "sudo modprobe iommufd; where that fails, a kernel with CONFIG_IOMMUFD (Debian's has none)"
    return Result(GROUP, "iommufd", Status.WARN, "there is no iommufd", cause, fix)


def _cdev(machine: Machine) -> Result:
    bound = [
        function
        for driver in entries(machine.sys / "bus/pci/drivers")
        if "vfio" in driver
        for name in entries(machine.sys / "bus/pci/drivers" / driver)
        if ":" in name and (function := machine.function(name)) is not None
    ]
    with_node = [function for function in bound if function.vfio_cdev]
    if with_node:
        evidence = f"{with_node[0]} has /dev/vfio/devices/{with_node[0].vfio_cdev}"
        return Result(GROUP, "device nodes", Status.OK, evidence)
    if bound:
        cause = "the kernel makes no nodes for single functions: only the group interface can be used"
        fix = "Linux 6.6 or later with CONFIG_VFIO_DEVICE_CDEV (Debian's has none)"
        return Result(GROUP, "device nodes", Status.WARN, f"{bound[0]} is bound and has no node of its own", cause, fix)
    fix = "bind a function: vfio-ims list"
    return Result(GROUP, "device nodes", Status.UNKNOWN, "no function is bound to VFIO, so nothing shows it", fix=fix)


def _options(machine: Machine) -> Result:
    bad = []
    if machine.parameter("vfio", "enable_unsafe_noiommu_mode") in _ON:
        bad.append(("vfio.enable_unsafe_noiommu_mode", "a device without an IOMMU could write any memory"))
    for module in ("vfio_iommu_type1", "iommufd"):
        if machine.parameter(module, "allow_unsafe_interrupts") in _ON:
            bad.append(
                (f"{module}.allow_unsafe_interrupts", "a device could forge interrupts where nothing remaps them")
            )
    if bad:
        names = ", ".join(name for name, _ in bad)
        causes = "; ".join(dict.fromkeys(why for _, why in bad))
        places = [f"/sys/module/{name.replace('.', '/parameters/')}" for name, _ in bad]
        return Result(GROUP, "options", Status.WARN, f"on: {names}", causes, f"echo N | sudo tee {' '.join(places)}")
    seen = [
        f"{name}={value}"
        for module, name in (("vfio_pci", "disable_idle_d3"), ("vfio_pci", "enable_sriov"))
        if (value := machine.parameter(module, name)) is not None
    ]
    values = f" ({', '.join(seen)})" if seen else ""
    return Result(GROUP, "options", Status.OK, f"no unsafe mode is on{values}")


def _denylist(machine: Machine, function: Function | None) -> Result:
    functions = (function,) if function is not None else machine.functions()
    listed = [one for one in functions if on_denylist(one)]
    if not listed:
        return Result(GROUP, "denylist", Status.OK, "no device here is on vfio-pci's denylist")
    named = ", ".join(f"{one} ({one.id})" for one in listed[:3]) + (" …" if len(listed) > 3 else "")
    switch = machine.parameter("vfio_pci", "disable_denylist")
    spr = any((one.vendor, one.device) in SPR_IDS for one in listed)
    trust = "a user who may open one is then as trusted as root (INTEL-SA-01084)" if spr else "it has known errata"
    if switch in _ON:
        fix = "let only those into the group whom you would make root"
        return Result(GROUP, "denylist", Status.WARN, f"disable_denylist is on, for {named}", trust, fix)
    if switch is None:
        cause = "vfio-pci is not loaded, or older than its denylist; loaded as it is, a new one refuses these devices"
        return Result(GROUP, "denylist", Status.WARN, f"on the denylist: {named}", f"{cause}; {trust}", WAY_OUT)
    status = Status.FAIL if function is not None else Status.WARN
    cause = f"vfio-pci refuses to bind with EINVAL. With the denylist off, {trust}"
    return Result(GROUP, "denylist", status, f"disable_denylist is off, and on the list: {named}", cause, WAY_OUT)


def _container_node(machine: Machine) -> Result:
    node = machine.node("vfio/vfio")
    if node is None:
        inside = container(machine)
        cause = f"the {inside} container was not given it" if inside else "the module vfio is not loaded"
        fix = "start it with --device /dev/vfio/vfio" if inside else "sudo modprobe vfio-pci vfio_iommu_type1"
        status = Status.WARN if machine.node("iommu") is not None else Status.FAIL
        return Result(GROUP, "/dev/vfio/vfio", status, "/dev/vfio/vfio is not there", cause, fix)
    if node.accessible:
        return Result(GROUP, "/dev/vfio/vfio", Status.OK, str(node))
    cause = "0666 is the kernel's design: by itself it opens no device. No udev rule has set it here"
    return Result(GROUP, "/dev/vfio/vfio", Status.FAIL, str(node), cause, "sudo vfio-ims udev install")


def _iommu_node(machine: Machine) -> Result:
    node = machine.node("iommu")
    if node is None:
        cause = "iommufd is not loaded, or the container was not given it: iommu=iommufd and PASIDs cannot be used"
        fix = "sudo modprobe iommufd; in a container --device /dev/iommu"
        return Result(GROUP, "/dev/iommu", Status.WARN, "/dev/iommu is not there", cause, fix)
    if node.mode & 0o006:
        cause = "everybody may open it"
        return Result(GROUP, "/dev/iommu", Status.WARN, str(node), cause, "sudo vfio-ims udev install")
    if node.accessible:
        return Result(GROUP, "/dev/iommu", Status.OK, str(node))
    from vfio_ims.host.doctor.access import who_may

    cause, fix = who_may(machine, node)
    return Result(GROUP, "/dev/iommu", Status.WARN, str(node), f"{cause}: iommu=iommufd cannot be used", fix)
