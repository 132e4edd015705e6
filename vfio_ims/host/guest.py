# SPDX-License-Identifier: Apache-2.0
"""Whether this machine is a virtual one; and where its IOMMU is turned on: in firmware, or outside the VM."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine

__all__ = [
    "IOMMU_OF_A_VM",
    "NO_IOMMU_SWITCH",
    "in_guest",
    "iommu_on",
    "is_arm64",
    "no_iommu_mode",
    "remapping_on",
]

IOMMU_OF_A_VM = (
    "give the VM a vIOMMU, outside: QEMU -machine q35,kernel-irqchip=split -device"
    " intel-iommu,intremap=on,caching-mode=on before other devices; libvirt <iommu model='intel'><driver intremap='on'"
    " caching_mode='on'/></iommu>"
)
"""QEMU's intel-iommu serves guests on Intel and on AMD. caching-mode: devices that the host passes on need it."""


NO_IOMMU_SWITCH = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"


def no_iommu_mode(machine: Machine) -> bool:
    """Whether VFIO takes functions without an IOMMU: root has turned that on."""
    return machine.parameter("vfio", "enable_unsafe_noiommu_mode") in ("Y", "1")


def in_guest(machine: Machine) -> bool:
    """Whether the processor's flag ``hypervisor`` is set (x86: CPUID.1:ECX[31], which hypervisors set)."""
    match = re.search(r"^flags\s*:(.*)$", machine.text("/proc/cpuinfo") or "", re.MULTILINE)
    return match is not None and "hypervisor" in match[1].split()


def is_arm64(machine: Machine) -> bool:
    """Whether the processor is Arm's kind, as /proc/cpuinfo has it. Of a virtual machine it says nothing."""
    return re.search(r"^CPU implementer\s*:", machine.text("/proc/cpuinfo") or "", re.MULTILINE) is not None


def iommu_on(machine: Machine) -> str:
    """What gives this machine an IOMMU."""
    if is_arm64(machine):
        return (
            "turn the SMMU on in the firmware, sudo dmesg | grep -iE 'smmu|iort'; a VM: give it one, outside (QEMU"
            " -machine virt,gic-version=3,iommu=smmuv3)"
        )
    if in_guest(machine):
        return f"{IOMMU_OF_A_VM}; inside, intel_iommu=on on the kernel's command line"
    return "turn VT-d or AMD-Vi on in the firmware; intel_iommu=on on the kernel's command line"


def remapping_on(machine: Machine) -> str:
    """What turns interrupt remapping on here."""
    if is_arm64(machine):
        return "nothing, where the GIC has no ITS; a VM: give it one, outside (QEMU -machine virt,gic-version=3)"
    if in_guest(machine):
        return IOMMU_OF_A_VM
    return "turn x2APIC and VT-d or AMD-Vi on in the firmware"
