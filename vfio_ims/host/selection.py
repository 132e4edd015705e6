# SPDX-License-Identifier: Apache-2.0
"""Picking functions: lspci's ``-s`` and ``-d``, addresses, shell globs and kernel names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vfio_ims.errors import SetupError, UsageError, VfioImsError
from vfio_ims.pci import PciAddress, Selector, SlotSelector
from vfio_ims.sysfs import address_of

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["Selection", "is_software", "not_here"]


@dataclass(frozen=True, slots=True)
class Selection:
    """A function is taken if it matches the selector, and one of ``slots`` where there are any."""

    selector: Selector = field(default_factory=Selector)
    slots: tuple[SlotSelector, ...] = ()

    @classmethod
    def parse(cls, machine: Machine, names: Sequence[str] = (), slot: str = "", ids: str = "") -> Selection:
        """The functions of ``machine`` that a command line means.

        ``names``: addresses, globs such as ``6a:0?.*``, kernel names such as dsa0; ``slot`` and ``ids`` are lspci's
        ``-s`` and ``-d``. UsageError for a bad text, SetupError for a name that is not here.
        """
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
    if is_software(name) or name.startswith("report:"):
        raise not_here(name, "select")
    found = address_of(name, machine.sys)
    if found is not None:
        return SlotSelector(found.domain, found.bus, found.device, found.function)
    if any(mark in name for mark in "*?[:."):
        return SlotSelector.parse(name)
    raise not_here(name, "select")


def is_software(name: str) -> bool:
    """Whether this names a model, a socket or a recording: nothing is to be seen of them without opening them."""
    return name.startswith(("mock:", "vfio-user:", "replay:"))


def not_here(name: str, operation: str, *, software: bool = False) -> VfioImsError:
    """Why ``name`` is no function of the machine, and what to do: by what it looks like.

    ``software``: what was to be done can be done with models and sockets, too.
    """
    head = name.partition(",")[0]
    hint = "vfio-ims list --all shows what there is"
    if PciAddress.looks_like(head):
        return SetupError(operation, device=head, why="there is no such PCI function on this machine", hint=hint)
    if is_software(name):
        what = "a model in software" if head.startswith("mock:") else "behind a socket"
        why = f"this is about PCI functions of a machine, and {head} is {what}: it needs nothing of the host"
        return UsageError(operation, device=name, why=why, hint=f"vfio-ims show {name}, vfio-ims selftest {name}")
    if head.startswith("report:"):
        why = "a report can be looked at, not used as the device"
        return UsageError(operation, device=name, why=why, hint=f"vfio-ims show {name}")
    known = ["a PCI address (0000:6a:01.0)", "a kernel device here (as dsa0, eth1)"]
    known += ["mock:MODEL", "vfio-user:PATH"] if software else []
    return UsageError(operation, why=f"{head!r} is neither {', nor '.join(known)}, nor report:FILE", hint=hint)
