# SPDX-License-Identifier: Apache-2.0
"""Which Linux interrupt a vector of a VFIO function is, and which CPUs take it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vfio_ims.sysfs.attributes import entries, read_int, read_text
from vfio_ims.sysfs.function import Function

__all__ = ["PROC", "format_cpus", "parse_cpus", "read_cpus", "vfio_irq"]

PROC = Path("/proc")


def vfio_irq(function: Function, action: str, proc: Path = PROC) -> int | None:
    """The number of the function's interrupt that has ``action`` as its handler's name; None where there is none.

    vfio-pci names its handlers vfio-intx(BDF), vfio-msi[N](BDF) and vfio-msix[N](BDF) (the kernel's
    drivers/vfio/pci/vfio_pci_intrs.c). Numbers are those of the function alone, so that names are not searched for
    among all interrupts of the machine.
    """
    numbers = [irq.number for irq in function.fresh().msi_irqs]
    line = read_int(function.path / "irq")
    for number in [*numbers, *([line] if line else [])]:
        actions = read_text(function.root / "kernel/irq" / str(number) / "actions") or ""
        if action in actions.split(",") or action in entries(proc / "irq" / str(number)):
            return number
    return None


def parse_cpus(text: str) -> frozenset[int]:
    """CPU numbers as the kernel lists them: "0-3,8". ValueError where it is no such list."""
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if low:
            found.update(range(int(low), int(high if dash else low) + 1))
    return frozenset(found)


def format_cpus(cpus: Iterable[int]) -> str:
    """CPU numbers as the kernel takes a list of them."""
    return ",".join(str(cpu) for cpu in sorted(cpus))


def read_cpus(number: int, file: str, proc: Path = PROC) -> frozenset[int] | None:
    """The CPUs in a file of the interrupt's folder, such as ``smp_affinity_list``; None where it cannot be read."""
    text = read_text(proc / "irq" / str(number) / file)
    try:
        return None if text is None else parse_cpus(text)
    except ValueError:
        return None
