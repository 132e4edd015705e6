# SPDX-License-Identifier: Apache-2.0
"""Giving functions to VFIO, and back to what had them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vfio_ims.errors import DeviceBusy, SetupError, VfioImsError
from vfio_ims.host.binding import Binding, Step, steps_between
from vfio_ims.host.denylist import WAY_OUT, denied
from vfio_ims.host.holders import Holders
from vfio_ims.host.journal import Entry, Journal
from vfio_ims.host.machine import Machine
from vfio_ims.host.state import blockers, is_vfio_driver
from vfio_ims.host.uses import Uses
from vfio_ims.host.writer import Writer
from vfio_ims.pci import PciAddress
from vfio_ims.sysfs import Function
from vfio_ims.sysfs.attributes import entries as names_in
from vfio_ims.sysfs.attributes import link_name

__all__ = ["Binder", "Change", "Plan", "Restored"]

Told = Callable[[Step], None]


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
    """Changes in order; ``uses``: what would be lost, by address, which only force overrides."""

    changes: tuple[Change, ...]
    uses: dict[str, tuple[str, ...]]
    operation: str

    @property
    def steps(self) -> list[Step]:
        return [step for change in self.changes for step in change.steps]


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of one entry. ``done`` False: it could not be restored, ``text`` says why."""

    address: str
    done: bool
    text: str


class Binder:
    """Binds, unbinds, restores. ``state``: where the journal is. ``told`` hears of each write before it is made."""

    def __init__(
        self,
        machine: Machine | None = None,
        *,
        state: Path | None = None,
        writer: Writer | None = None,
        told: Told | None = None,
    ) -> None:
        self.machine = machine or Machine()
        self.journal = Journal((state or self.machine.run) / "bindings")
        self._writer = writer or Writer(self.machine)
        self._told = told or (lambda step: None)

    # --- planning -----------------------------------------------------------------------------------------------------

    def plan_bind(self, functions: Sequence[Function], driver: str = "vfio-pci", *, siblings: bool = False) -> Plan:
        """What binding to ``driver`` would write. ``siblings``: members of their groups that kernel drivers have, too.

        Raises SetupError where it is clear beforehand that it will not work, and says which siblings block a group.
        """
        self._check_driver(driver)
        chosen = {function.address: function.fresh() for function in functions}
        for function in list(chosen.values()):
            others = [one for one in blockers(function) if one.address not in chosen]
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
        return self._plan("bind", changes)

    def plan_unbind(self, functions: Sequence[Function]) -> Plan:
        """What leaving them without a driver would write."""
        changes = []
        for function in functions:
            now = Binding.of(function)
            changes.append(Change(function, now, Binding(None, now.override, 0 if now.virtual is not None else None)))
        return self._plan("unbind", changes)

    def _plan(self, operation: str, changes: Sequence[Change]) -> Plan:
        needed = tuple(change for change in changes if change.steps)
        uses = {str(change.function): found for change in needed if (found := self._uses(change, operation))}
        return Plan(needed, uses, operation)

    def _uses(self, change: Change, operation: str) -> tuple[str, ...]:
        if change.now.driver == change.wanted.driver:
            return ()
        function, uses = change.function, Uses(self.machine)
        found = list(uses.of(function))
        virtual = self._virtual(function) if change.now.virtual else []
        if virtual or is_vfio_driver(change.now.driver):
            holders = Holders.scan(self.machine)
            found += [f"{holder} has it open" for holder in holders.of(function)]
            found += [f"{holder} has its virtual function {one} open" for one in virtual for holder in holders.of(one)]
        if virtual and operation != "restore":
            found.append(f"its {change.now.virtual} virtual functions would vanish")
        found += [f"its virtual function {one}: {use}" for one in virtual for use in uses.of(one)]
        if change.now.driver == "idxd" and (0, 0) < self.machine.kernel < (5, 14):
            found.append(f"taking it from idxd can crash Linux {self.machine.release} (mended in 5.14)")
        return tuple(found)

    def _virtual(self, function: Function) -> list[Function]:
        """The virtual functions that it has now."""
        names = (name for name in names_in(function.path) if name.startswith("virtfn"))
        targets = (link_name(function.path / name) or "" for name in names)
        return [
            Function(PciAddress.parse(target), self.machine.sys) for target in targets if PciAddress.looks_like(target)
        ]

    def _check_driver(self, driver: str) -> None:
        if not (self.machine.sys / "bus/pci/drivers" / driver).is_dir():
            why = f"the kernel has no driver {driver} now: its module is not loaded"
            raise SetupError("bind", why=why, hint=f"sudo modprobe {driver}")

    def _check_function(self, function: Function, driver: str) -> None:
        name = str(function)
        if not function.exists:
            why = "there is no such PCI function on this machine"
            raise SetupError("bind", device=name, why=why, hint="vfio-ims list --all")
        if function.class_code is not None and function.class_code >> 8 == 0x0604:
            raise SetupError("bind", device=name, why="it is a bridge: what is behind it would be cut off")
        refusal = denied(function, self.machine) if driver == "vfio-pci" else None
        if refusal is not None:
            raise SetupError("bind", device=name, why=refusal, hint=WAY_OUT)
        if function.iommu_group is None and is_vfio_driver(driver):
            why = "no IOMMU stands in front of it, and VFIO without one is never used here"
            hint = "turn VT-d or AMD-Vi on in the firmware, and intel_iommu=on on the kernel's command line"
            raise SetupError("bind", device=name, why=why, hint=hint)

    # --- doing --------------------------------------------------------------------------------------------------------

    def carry_out(self, plan: Plan, *, force: bool = False) -> list[Step]:
        """Write the journal, then the plan's steps; returns these. After a failure everything is as it was before.

        Raises DeviceBusy where something is in use and not ``force``.
        """
        if plan.uses and not force:
            address, uses = next(iter(plan.uses.items()))
            hint = "stop its user first, or add --force"
            raise DeviceBusy(plan.operation, device=address, why="; ".join(uses), hint=hint)
        with self.journal.locked():
            for change in plan.changes:
                self._remember(change)
            done: list[Step] = []
            try:
                for change in plan.changes:
                    self._go(change.function, change.wanted, done)
            except BaseException as failure:
                self._roll_back(plan, failure)
                raise
            return done

    def _remember(self, change: Change) -> None:
        """The first entry of a function stays: it is what was there before we came."""
        function, address = change.function, str(change.function)
        known = self.journal.get(address)
        if known is not None and known.boot_id == self.machine.boot_id and known.id == function.id:
            return
        virtual = {str(one): Binding.of(one) for one in self._virtual(function)}
        self.journal.put(Entry(address, function.id, change.now, self.machine.boot_id, time.time(), virtual))

    def _go(self, function: Function, wanted: Binding, done: list[Step]) -> None:
        """Bring one function to ``wanted`` from wherever it is, reading back after each write."""
        address = str(function)
        for step in steps_between(address, Binding.of(function), wanted):
            self._told(step)
            try:
                self._writer.write(step.path, step.text, address)
            except VfioImsError as refusal:
                raise self._explained(refusal, function, step) from refusal
            done.append(step)
            found = getattr(Binding.of(function), step.checks)
            if found != step.expected:
                what = {"driver": "its driver", "override": "driver_override", "virtual": "sriov_numvfs"}[step.checks]
                why = f"the kernel took {step.text.strip()!r}, but {what} is {found or 'none'}, not {step.expected}"
                raise SetupError(f"write /sys/{step.path}", device=address, why=why, hint="dmesg | tail")

    def _explained(self, refusal: VfioImsError, function: Function, step: Step) -> VfioImsError:
        if refusal.errno == 22 and step.checks == "driver" and step.expected == "vfio-pci":
            from vfio_ims.host.denylist import on_denylist

            if on_denylist(function):
                why = f"vfio-pci's denylist has {function.id}"
                return SetupError(refusal.operation, device=str(function), why=why, hint=WAY_OUT, errno=refusal.errno)
        return refusal

    def _roll_back(self, plan: Plan, failure: BaseException) -> None:
        failures = []
        for change in reversed(plan.changes):
            entry = self.journal.get(str(change.function))
            ours = entry is not None and entry.before == change.now
            try:
                self._put_back(change.function, change.now, entry.virtual if entry is not None and ours else {})
            except VfioImsError as error:
                failures.append(str(error))
                continue
            if entry is not None and ours:
                self.journal.drop(entry.address)
        if failures and isinstance(failure, VfioImsError):
            failure.why += f". Putting back what was there failed too: {'; '.join(failures)}"
            failure.hint = f"when its cause is gone: vfio-ims restore. {failure.hint}"

    def _put_back(self, function: Function, before: Binding, virtual: Mapping[str, Binding]) -> list[Step]:
        done: list[Step] = []
        self._go(function, before, done)
        for address, was in virtual.items():
            self._go(Function(PciAddress.parse(address), self.machine.sys), was, done)
        return done

    # --- back ---------------------------------------------------------------------------------------------------------

    def plan_restore(self, addresses: Sequence[str] | None = None) -> Plan:
        """What ``restore`` would write; what it would merely forget is left out."""
        changes = []
        for entry in self._chosen(addresses):
            function = Function(PciAddress.parse(entry.address), self.machine.sys)
            if self._obsolete(entry, function) is None:
                changes.append(Change(function, Binding.of(function), entry.before))
        return self._plan("restore", changes)

    def restore(self, addresses: Sequence[str] | None = None, *, force: bool = False) -> list[Restored]:
        """Bring functions back to what they were before we came: all that are in the journal, or those named.

        Raises DeviceBusy where one is open and not ``force``. One that cannot be restored keeps its entry.
        """
        plan = self.plan_restore(addresses)
        if plan.uses and not force:
            address, uses = next(iter(plan.uses.items()))
            raise DeviceBusy("restore", device=address, why="; ".join(uses), hint="close it first, or add --force")
        with self.journal.locked():
            return [self._restore(entry) for entry in reversed(self._chosen(addresses))]

    def _chosen(self, addresses: Sequence[str] | None) -> list[Entry]:
        return [entry for entry in self.journal.entries() if addresses is None or entry.address in addresses]

    def _obsolete(self, entry: Entry, function: Function) -> str | None:
        """Why there is nothing to restore any more, or None."""
        if entry.boot_id != self.machine.boot_id:
            return "the machine has been started anew since, which undid it: nothing to restore"
        if not function.exists:
            return "the function is gone, and with it what was set on it: nothing to restore"
        if function.id != entry.id:
            return f"another device, {function.id}, is there now: nothing to restore"
        return None

    def _restore(self, entry: Entry) -> Restored:
        function = Function(PciAddress.parse(entry.address), self.machine.sys)
        text = self._obsolete(entry, function)
        if text is None:
            try:
                steps = self._put_back(function, entry.before, entry.virtual)
            except VfioImsError as error:
                return Restored(entry.address, False, str(error))
            text = f"back to {entry.before}" if steps else f"is as it was: {entry.before}"
        self.journal.drop(entry.address)
        return Restored(entry.address, True, text)
