# SPDX-License-Identifier: Apache-2.0
"""What binding and unbinding would write, and what would be lost by it. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import DeviceBusy, SetupError
from vfio_ims.host.binding import Binding, Step, steps_between
from vfio_ims.host.denylist import WAY_OUT, denied
from vfio_ims.host.guest import NO_IOMMU_SWITCH, iommu_on, no_iommu_mode
from vfio_ims.host.holders import Holders
from vfio_ims.host.in_use import Uses
from vfio_ims.host.state import bridge
from vfio_ims.pci import PciAddress
from vfio_ims.sysfs import Function
from vfio_ims.sysfs.attributes import entries as names_in
from vfio_ims.sysfs.attributes import link_name
from vfio_ims.sysfs.kernel_drivers import group_blockers, is_vfio_driver

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine

__all__ = ["Change", "Plan", "Planner", "virtual_functions"]


@dataclass(frozen=True, slots=True)
class Change:
    """One function, as it is and as it is to be."""

    function: Function
    now: Binding
    wanted: Binding

    @property
    def steps(self) -> list[Step]:
        return steps_between(str(self.function.address), self.now, self.wanted)


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in order; ``uses``: what would be lost, by address, which only force overrides.

    ``absent``: a driver that it binds to and that the kernel does not have now.
    """

    changes: tuple[Change, ...]
    uses: dict[str, tuple[str, ...]]
    operation: str
    absent: str | None = None

    @property
    def steps(self) -> list[Step]:
        """The writes of all changes, in order."""
        return [step for change in self.changes for step in change.steps]

    def check_free(self, *, force: bool = False) -> None:
        """Raise DeviceBusy where something is in use, and not ``force``."""
        if self.uses and not force:
            address, uses = next(iter(self.uses.items()))
            hint = "stop its user first, or add --force"
            raise DeviceBusy(self.operation, device=address, why="; ".join(uses), hint=hint)

    def check_loaded(self) -> None:
        """Raise SetupError where the kernel does not have the driver now: its module is to be loaded first."""
        if self.absent is not None:
            why = f"the kernel has no driver {self.absent} now: its module is not loaded"
            raise SetupError(self.operation, why=why, hint=f"sudo modprobe {self.absent}")


def virtual_functions(function: Function) -> list[Function]:
    """The virtual functions that it has now."""
    names = (name for name in names_in(function.path) if name.startswith("virtfn"))
    targets = (link_name(function.path / name) or "" for name in names)
    return [Function(PciAddress.parse(target), function.root) for target in targets if PciAddress.looks_like(target)]


class Planner:
    """Plans for the functions of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def bind(self, functions: Sequence[Function], driver: str = "vfio-pci", *, siblings: bool = False) -> Plan:
        """What binding to ``driver`` would write. ``siblings``: members of their groups that kernel drivers have, too.

        Raises SetupError where it is clear beforehand that it will not work, and says which siblings block a group.
        """
        chosen = {function.address: function.fresh() for function in functions}
        for function in list(chosen.values()):
            others = [one for one in group_blockers(function) if one.address not in chosen]
            if others and not siblings:
                named = ", ".join(f"{one} (driver {one.driver})" for one in others)
                why = f"its IOMMU group {function.iommu_group and function.iommu_group.number} is handed out as a whole"
                raise SetupError(
                    "bind",
                    device=str(function),
                    why=f"{why}, and {named} would block it",
                    hint=f"vfio-ims bind {function} --group binds these too",
                )
            chosen |= {one.address: one.fresh() for one in others}
        changes = []
        for function in chosen.values():
            self._check_function(function, driver)
            now = Binding.of(function)
            if now.driver != driver:
                changes.append(Change(function, now, Binding(driver, driver, 0 if now.virtual is not None else None)))
        loaded = (self.machine.sys / "bus/pci/drivers" / driver).is_dir()
        return replace(self.plan("bind", changes), absent=None if loaded else driver)

    def unbind(self, functions: Sequence[Function]) -> Plan:
        """What leaving them without a driver would write."""
        changes = []
        for function in functions:
            now = Binding.of(function)
            changes.append(Change(function, now, Binding(None, now.override, 0 if now.virtual is not None else None)))
        return self.plan("unbind", changes)

    def plan(self, operation: str, changes: Sequence[Change]) -> Plan:
        """The plan of these changes, without those that change nothing, and what it would take from whom."""
        needed = tuple(change for change in changes if change.steps)
        uses = {str(change.function): found for change in needed if (found := self._uses(change, operation))}
        return Plan(needed, uses, operation)

    def _uses(self, change: Change, operation: str) -> tuple[str, ...]:
        if change.now.driver == change.wanted.driver:
            return ()
        function, uses = change.function, Uses(self.machine)
        found = list(uses.of(function))
        virtual = virtual_functions(function) if change.now.virtual else []
        if virtual or is_vfio_driver(change.now.driver):
            holders = Holders.scan(self.machine)
            found += [f"{holder} has it open" for holder in holders.of(function)]
            found += [f"{holder} has its virtual function {one} open" for one in virtual for holder in holders.of(one)]
        if virtual and operation != "restore":
            found.append(f"its {counted(change.now.virtual or 0, 'virtual function')} would vanish")
        found += [f"its virtual function {one}: {use}" for one in virtual for use in uses.of(one)]
        if change.now.driver == "idxd" and (0, 0) < self.machine.kernel < (5, 14):
            found.append(f"taking it from idxd can crash Linux {self.machine.release} (fixed in 5.14)")
        return tuple(found)

    def _check_function(self, function: Function, driver: str) -> None:
        name = str(function)
        if not function.exists:
            why = "there is no such PCI function on this machine"
            raise SetupError("bind", device=name, why=why, hint="vfio-ims list --all")
        kind = bridge(function)
        if kind is not None:
            why = f"it is a {kind}: it stays with the kernel, and what is behind it would be cut off"
            hint = "where it blocks a group: vfio-ims unbind leaves it without a driver"
            raise SetupError("bind", device=name, why=why, hint=hint)
        refusal = denied(function, self.machine) if driver == "vfio-pci" else None
        if refusal is not None:
            raise SetupError("bind", device=name, why=refusal, hint=WAY_OUT)
        if function.iommu_group is None and is_vfio_driver(driver) and not no_iommu_mode(self.machine):
            why = "no IOMMU stands in front of it, and VFIO without one is off"
            hint = (
                f"{iommu_on(self.machine)}. Without one a device can write any memory; for a trusted one in a test VM:"
                f" echo Y | sudo tee {NO_IOMMU_SWITCH}, and open it as root with ,iommu=none"
            )
            raise SetupError("bind", device=name, why=why, hint=hint)
