# SPDX-License-Identifier: Apache-2.0
"""A function's message interrupts as the kernel lists them, and whether the platform remaps them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vfio_ims.sysfs.attributes import entries, read_text

__all__ = ["Irq", "read_msi_irqs", "remapped"]


@dataclass(frozen=True, slots=True)
class Irq:
    """One Linux interrupt: its number, "msi" or "msix", its chip's name, and what is attached to it."""

    number: int
    mode: str | None = None
    chip: str | None = None
    actions: str | None = None
    hardware: str | None = None  # the number within the function's own interrupt domain, as text


def read_msi_irqs(device: Path, root: Path) -> tuple[Irq, ...]:
    """What ``msi_irqs`` in the function's folder lists, by number; empty while no message interrupt is allocated."""
    found = []
    for name in entries(device / "msi_irqs"):
        if name.isdecimal():
            irq = root / "kernel/irq" / name
            texts = (read_text(path) for path in (irq / "chip_name", irq / "actions", irq / "hwirq"))
            found.append(Irq(int(name), read_text(device / "msi_irqs" / name), *texts))
    return tuple(sorted(found, key=lambda one: one.number))


def remapped(chip: str) -> bool | None:
    """Whether a chip of this name stands behind interrupt remapping; None for names that nothing is known of.

    VT-d and AMD put ``IR-`` before the names of their chips, ``vIR-`` on some older virtual machines (recalled, not
    re-read). A GICv3 ITS, ``ITS-``, translates by the sender's device id. A GICv2m frame takes any sender's message
    (Linux: the prefixes named in ``message_platform``; only the ITS's domain has IRQ_DOMAIN_FLAG_ISOLATED_MSI).
    """
    if chip.startswith(("IR-", "vIR-", "ITS-")):
        return True
    # A plain domain's chip has no prefix; new kernels put the function's address after the name.
    return False if chip.startswith(("PCI-MSI", "GICv2m-")) else None
