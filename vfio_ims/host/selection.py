# SPDX-License-Identifier: Apache-2.0
"""Picking functions: lspci's ``-s`` and ``-d``, addresses, shell globs and kernel names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vfio_ims.errors import SetupError
from vfio_ims.pci import PciAddress, Selector, SlotSelector
from vfio_ims.sysfs import address_of

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["Selection"]


@dataclass(frozen=True, slots=True)
class Selection:
    """A function is taken if it matches the selector, and one of ``slots`` where there are any."""

    selector: Selector = field(default_factory=Selector)
    slots: tuple[SlotSelector, ...] = ()

    @classmethod
    def parse(cls, machine: Machine, names: Sequence[str] = (), slot: str = "", ids: str = "") -> Selection:
        """``names``: addresses, globs such as ``6a:0?.*``, kernel names such as dsa0. UsageError, or SetupError."""
        return cls(Selector.parse(slot, ids), tuple(_slot(machine, name) for name in names))

    @property
    def open(self) -> bool:
        """Whether nothing was asked for."""
        return self == Selection()

    def takes(self, function: Function) -> bool:
        """Whether this function is meant."""
        matches = self.selector.matches(
            function.address, function.vendor or 0, function.device or 0, function.class_code or 0
        )
        return matches and (not self.slots or any(slot.matches(function.address) for slot in self.slots))


def _slot(machine: Machine, name: str) -> SlotSelector:
    if PciAddress.looks_like(name):
        address = PciAddress.parse(name)
        return SlotSelector(address.domain, address.bus, address.device, address.function)
    found = address_of(name, machine.sys)
    if found is not None:
        return SlotSelector(found.domain, found.bus, found.device, found.function)
    if any(mark in name for mark in "*?[:."):
        return SlotSelector.parse(name)
    raise SetupError("select", device=name, why="no kernel device of this name belongs to a PCI function")
