# SPDX-License-Identifier: Apache-2.0
"""All PCI functions of the host, by address, by kernel name, by lspci's selectors."""

from pathlib import Path

from vfio_ims.pci import PciAddress, Selector
from vfio_ims.sysfs.aliases import address_of
from vfio_ims.sysfs.attributes import SYS, entries
from vfio_ims.sysfs.function import Function

__all__ = ["find", "functions", "select"]


def functions(root: Path = SYS) -> tuple[Function, ...]:
    """Every function that the kernel has, by address; none where there is no PCI bus."""
    names = entries(root / "bus/pci/devices")
    return tuple(Function(a, root) for a in sorted(PciAddress.parse(n) for n in names if PciAddress.looks_like(n)))


def select(selector: Selector, root: Path = SYS) -> tuple[Function, ...]:
    """The functions that an lspci selector means. One whose ids cannot be read matches no selector of ids."""
    return tuple(
        one
        for one in functions(root)
        if selector.matches(one.address, one.vendor or 0, one.device or 0, one.class_code or 0)
    )


def find(name: str, root: Path = SYS) -> Function | None:
    """The function that ``name`` means: an address in any spelling, or a kernel name such as ``dsa0``; None if none."""
    name = name.strip()
    if PciAddress.looks_like(name):
        function = Function(PciAddress.parse(name), root)
    else:
        address = address_of(name, root)
        if address is None:
            return None
        function = Function(address, root)
    return function if function.exists else None
