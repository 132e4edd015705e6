# SPDX-License-Identifier: Apache-2.0
"""Evidence for interrupt remapping: the names of interrupt chips, not the looks of a message."""

from vfio_ims.ports.evidence import Evidence
from vfio_ims.sysfs.enumerate import functions
from vfio_ims.sysfs.function import Function
from vfio_ims.sysfs.irqs import remapped

__all__ = ["interrupt_remapping", "known_chip"]


def _judge(function: Function) -> tuple[bool, str, str] | None:
    """Whether its interrupts are remapped, the chip that shows it, and that in words."""
    for irq in function.msi_irqs:
        answer = remapped(irq.chip) if irq.chip else None
        if irq.chip and answer is not None:
            return answer, irq.chip, f"interrupt {irq.number} of {function} has chip {irq.chip}"
    return None


def known_chip(function: Function) -> tuple[str, str] | None:
    """The name of a chip behind which its interrupts are, and where it was seen; None while no interrupt shows one.

    Its own, else that of a function behind the same IOMMU.
    """
    own = _judge(function)
    if own is not None:
        return own[1:]
    seen = _neighbour(function)
    return None if seen is None else (seen[1], f"{seen[2]}, behind the same IOMMU, {function.iommu}")


def _neighbour(function: Function) -> tuple[bool, str, str] | None:
    if function.iommu is not None:
        for other in functions(function.root):
            if other.address != function.address and other.iommu == function.iommu:
                seen = _judge(other)
                if seen is not None:
                    return seen
    return None


def interrupt_remapping(function: Function) -> Evidence:
    """Whether the platform remaps this function's message interrupts.

    Looks at its own, then at those of functions behind the same IOMMU, since remapping is a property of that unit.
    Unknown while none of them has one allocated.
    """
    own = _judge(function)
    if own is not None:
        return Evidence(own[0], own[2])
    to_find_out = "its own interrupts, once one MSI-X vector has an eventfd"
    seen = _neighbour(function)
    if seen is not None:
        return Evidence(seen[0], f"{seen[2]}, behind the same IOMMU, {function.iommu}", to_find_out)
    if function.msi_irqs:
        chips = ", ".join(sorted({irq.chip or "(no name readable)" for irq in function.msi_irqs}))
        return Evidence(None, f"nothing is known of its interrupt chip: {chips}", "the kernel's log")
    return Evidence(None, f"{function} has no message interrupt allocated", to_find_out)
