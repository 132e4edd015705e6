# SPDX-License-Identifier: Apache-2.0
"""What a function's interrupt messages are, from what the kernel says of its interrupts: chip, IOMMU, reserved regions.

Chips' names have the prefix of the interrupt domain above PCI's: "IR-" of VT-d and AMD-Vi, "ITS-" of a GICv3 ITS,
"GICv2m-", none of x86's own vectors (Linux 7.3 kernel/irq/msi.c msi_create_device_irq_domain; the prefixes in
drivers/iommu/intel/irq_remapping.c, drivers/iommu/amd/iommu.c, drivers/irqchip/irq-gic-its-msi-parent.c and
irq-gic-v2m.c). VT-d's units are called dmar0 and so on, AMD's ivhd0 (drivers/iommu/intel/dmar.c alloc_iommu,
drivers/iommu/amd/init.c iommu_init_pci).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vfio_ims.messages import INTERRUPT_RANGE, Format, MessagePlatform
from vfio_ims.sysfs.attributes import SYS
from vfio_ims.sysfs.remapping import known_chip

if TYPE_CHECKING:
    from vfio_ims.sysfs.function import Function

__all__ = ["message_platform"]

_UNITS = {"dmar": Format.VTD, "ivhd": Format.AMD}
_X86 = ("x86_64", "i386", "i486", "i586", "i686")


def message_platform(function: Function) -> MessagePlatform:
    """What ``function``'s messages are; ``format`` None while no interrupt shows it, or its chip is unknown."""
    group = function.iommu_group
    reserved = () if group is None else group.reserved
    windows = [range(one.start, one.last + 1) for one in reserved if one.kind == "msi"]
    x86 = _is_x86(function)
    if x86 and not any(INTERRUPT_RANGE.start in window for window in windows):
        windows.append(INTERRUPT_RANGE)
    known = known_chip(function)
    if known is None:
        return MessagePlatform(None, tuple(windows), None, "no interrupt chip is known yet")
    chip, text = known
    form, moves = _format(chip, function.iommu or "", x86)
    return MessagePlatform(form, tuple(windows), moves, text)


def _format(chip: str, iommu: str, x86: bool | None) -> tuple[Format | None, bool | None]:
    """What a chip's messages are, and whether they change when a vector moves."""
    if chip.startswith("IR-"):
        return _UNITS.get(iommu.rstrip("0123456789")), False
    if chip.startswith("ITS-") and not chip.startswith("ITS-v5-"):
        return Format.ITS, False
    if chip.startswith("GICv2m-"):
        return Format.GICV2M, False
    if chip.startswith("PCI-MSI") and x86 is not False:
        return (Format.COMPATIBILITY if x86 else None), True
    return None, None


def _is_x86(function: Function) -> bool | None:
    """Whether this is an x86 machine; None where a recorded tree does not tell."""
    if function.root == SYS:
        return os.uname().machine in _X86
    if function.iommu is None:
        return None
    return function.iommu.rstrip("0123456789") in _UNITS
