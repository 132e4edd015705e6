# SPDX-License-Identifier: Apache-2.0
"""The IOMMU, interrupt remapping, scalable mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.host.doctor.result import Result, Status
from vfio_ims.host.guest import in_guest, iommu_on, is_arm64, remapping_on
from vfio_ims.sysfs.attributes import entries, read_text
from vfio_ims.sysfs.irqs import remapped

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine

__all__ = ["check"]

GROUP = "IOMMU"
_SMTS = 1 << 43  # extended capability register, "Scalable Mode Translation Support" (VT-d specification 4.1, 11.4.3)
_ADD = "add {} to GRUB_CMDLINE_LINUX in /etc/default/grub, sudo update-grub (or grub2-mkconfig), reboot"


def check(machine: Machine) -> list[Result]:
    return [_present(machine), _remapping(machine), _scalable(machine)]


def _vendor(machine: Machine) -> str:
    text = machine.text("/proc/cpuinfo") or ""
    return "AMD" if "AuthenticAMD" in text else "Intel" if "GenuineIntel" in text else ""


def _has_amd_units(machine: Machine) -> bool:
    return any(unit.startswith("ivhd") for unit in entries(machine.sys / "class/iommu"))


def _present(machine: Machine) -> Result:
    units = entries(machine.sys / "class/iommu")
    groups = [name for name in entries(machine.sys / "kernel/iommu_groups") if name.isdecimal()]
    if groups:
        named = f"{', '.join(units[:4])}{' …' if len(units) > 4 else ''}" if units else "a unit without a name"
        return Result(GROUP, "present", Status.OK, f"{named}: {len(groups)} IOMMU groups")
    off = [word for word in machine.command_line if word in ("intel_iommu=off", "amd_iommu=off", "iommu=off")]
    evidence = "/sys/kernel/iommu_groups is empty"
    if off:
        cause = f"the kernel's command line has {off[0]}"
        return Result(GROUP, "present", Status.FAIL, evidence, cause, f"take {off[0]} off the kernel's command line")
    if in_guest(machine):
        cause = "this is a virtual machine, and it was given no IOMMU"
        if units:
            cause = "this is a virtual machine with an IOMMU that the kernel does not translate with"
        return Result(GROUP, "present", Status.FAIL, evidence, cause, iommu_on(machine))
    if is_arm64(machine):
        cause = "the firmware (ACPI IORT, device tree) names no SMMU, or the kernel does not translate with it"
        return Result(GROUP, "present", Status.FAIL, evidence, cause, iommu_on(machine))
    vendor = _vendor(machine)
    if vendor == "AMD":
        cause = "the firmware does not offer the IOMMU (AMD-Vi); the kernel would use it unasked"
        return Result(
            GROUP, "present", Status.FAIL, evidence, cause, "turn IOMMU on in the firmware, dmesg | grep AMD-Vi"
        )
    if units:
        cause = "an IOMMU is there, but the kernel does not translate with it"
    else:
        cause = "the firmware does not offer an IOMMU (VT-d), or the kernel is not configured to use it"
    fix = f"turn VT-d on in the firmware; {_ADD.format('intel_iommu=on')}"
    return Result(GROUP, "present", Status.FAIL, evidence, cause, fix)


def _remapping(machine: Machine) -> Result:
    answers: dict[bool, str] = {}
    for number in entries(machine.sys / "kernel/irq"):
        chip = read_text(machine.sys / "kernel/irq" / number / "chip_name") or ""
        answer = remapped(chip) if chip else None
        if answer is not None:
            answers.setdefault(answer, f"interrupt {number} has chip {chip}")
    if True in answers:
        return Result(GROUP, "interrupt remapping", Status.OK, answers[True])
    if False not in answers:
        fix = "dmesg | grep -i remap"
        return Result(GROUP, "interrupt remapping", Status.UNKNOWN, "no message interrupt's chip can be read", fix=fix)
    unsafe = [
        f"{module}.allow_unsafe_interrupts"
        for module in ("vfio_iommu_type1", "iommufd")
        if machine.parameter(module, "allow_unsafe_interrupts") in ("Y", "1")
    ]
    if unsafe:
        cause = f"{' and '.join(unsafe)} let VFIO go without: a device could then forge any interrupt"
        fix = f"{remapping_on(machine)}, without intremap=off; then these options off"
        return Result(GROUP, "interrupt remapping", Status.WARN, answers[False], cause, fix)
    off = [word for word in machine.command_line if word in ("intremap=off", "nox2apic")]
    cause = "the firmware has it off (x2APIC opt-out), or it is broken"
    if off:
        cause = f"the kernel's command line has {off[0]}"
    elif in_guest(machine):
        cause = "this is a virtual machine, and its IOMMU, where it has one, was not given remapping"
    elif is_arm64(machine):
        cause = "no GICv3 ITS stands behind it, which alone tells one sender's messages from another's"
    elif _has_amd_units(machine):
        # Linux drivers/iommu/amd/init.c check_ioapic_information
        cause = "the firmware's IVRS table lacks an IOAPIC, where the kernel's log says 'Disabling interrupt remapping'"
    cause += "; VFIO refuses to attach a device (EPERM)"
    fix = f"take {off[0]} off the kernel's command line" if off else remapping_on(machine)
    if not off and not in_guest(machine) and _has_amd_units(machine):
        fix = "sudo dmesg | grep AMD-Vi; newer firmware, or ivrs_ioapic[ID]=BUS:DEVICE.FUNCTION on the command line"
    return Result(GROUP, "interrupt remapping", Status.FAIL, answers[False], cause, fix)


def _scalable(machine: Machine) -> Result:
    able = 0
    for unit in entries(machine.sys / "class/iommu"):
        text = read_text(machine.sys / "class/iommu" / unit / "intel-iommu/ecap")
        try:
            able += bool(text and int(text, 16) & _SMTS)
        except ValueError:
            continue
    options = {
        part for word in machine.command_line if word.startswith("intel_iommu=") for part in word[12:].split(",")
    }
    if is_arm64(machine):
        cause = "PASIDs of an SMMU were not tried: what iommufd says of the device decides"
        return Result(GROUP, "scalable mode", Status.NOTE, "scalable mode is VT-d's, and this machine is arm64", cause)
    if not able and _has_amd_units(machine):
        text = "scalable mode is VT-d's, and this machine has AMD-Vi"
        # Linux drivers/iommu/amd/iommu.c: amdv1_ops and amdv2_ops have no set_dev_pasid, up to 7.3
        cause = "Linux's driver of AMD-Vi attaches no PASIDs for VFIO (7.3 and before): slots work without"
        return Result(GROUP, "scalable mode", Status.NOTE, text, cause)
    if not able:
        return Result(
            GROUP, "scalable mode", Status.NOTE, "no VT-d unit here says that it can", "PASIDs are not available"
        )
    if "sm_off" in options or (able and "sm_on" not in options):
        cause = "PASIDs need it, and the kernel's command line does not ask for it (some kernels turn it on unasked)"
        fix = _ADD.format("intel_iommu=on,sm_on")
        return Result(GROUP, "scalable mode", Status.NOTE, f"{able} VT-d units can do it", cause, fix)
    return Result(GROUP, "scalable mode", Status.OK, f"{able} VT-d units can do it, sm_on is given")
