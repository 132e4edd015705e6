# SPDX-License-Identifier: Apache-2.0
"""Giving functions to VFIO, and back to what had them."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vfio_ims.errors import SetupError, VfioImsError
from vfio_ims.host.binding import Binding, Step, steps_between
from vfio_ims.host.denylist import WAY_OUT, on_denylist
from vfio_ims.host.journal import Entry, Journal
from vfio_ims.host.machine import Machine
from vfio_ims.host.planning import Change, Plan, Planner, virtual_functions
from vfio_ims.host.writer import Writer
from vfio_ims.pci import PciAddress
from vfio_ims.sysfs import Function

__all__ = ["Binder", "Restored"]

OnStep = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of one entry. ``done`` False: it could not be restored, ``text`` says why."""

    address: str
    done: bool
    text: str


class Binder:
    """Binds, unbinds, restores.

    ``state``: where the journal is. ``on_step`` is called with each write before it is made.
    """

    def __init__(
        self,
        machine: Machine | None = None,
        *,
        state: Path | None = None,
        writer: Writer | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        self.machine = machine or Machine()
        self.journal = Journal((state or self.machine.run) / "bindings")
        self._planner = Planner(self.machine)
        self._writer = writer or Writer(self.machine)
        self._on_step = on_step or (lambda step: None)

    # --- planning -----------------------------------------------------------------------------------------------------

    def plan_bind(self, functions: Sequence[Function], driver: str = "vfio-pci", *, siblings: bool = False) -> Plan:
        """What binding ``functions`` to ``driver`` would write. Nothing is changed.

        ``siblings``: members of their groups that kernel drivers have, too. Raises SetupError where it is clear
        beforehand that it will not work, and says which siblings block a group.
        """
        return self._planner.bind(functions, driver, siblings=siblings)

    def plan_unbind(self, functions: Sequence[Function]) -> Plan:
        """What leaving them without a driver would write."""
        return self._planner.unbind(functions)

    # --- doing --------------------------------------------------------------------------------------------------------

    def carry_out(self, plan: Plan, *, force: bool = False) -> list[Step]:
        """Write the journal, then the plan's steps; returns these. After a failure everything is as it was before.

        Raises SetupError where the driver is not loaded, DeviceBusy where something is in use and not ``force``.
        """
        plan.check_loaded()
        plan.check_free(force=force)
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
        virtual = {str(one): Binding.of(one) for one in virtual_functions(function)}
        self.journal.put(Entry(address, function.id, change.now, self.machine.boot_id, time.time(), virtual))

    def _go(self, function: Function, wanted: Binding, done: list[Step]) -> None:
        """Bring one function to ``wanted`` from wherever it is, reading back after each write."""
        address = str(function)
        for step in steps_between(address, Binding.of(function), wanted):
            self._on_step(step)
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
        denying = refusal.errno == errno.EINVAL and step.expected == "vfio-pci" and step.checks == "driver"
        if denying and on_denylist(function):
            why = f"vfio-pci's denylist has {function.id}"
            return SetupError(refusal.operation, device=str(function), why=why, hint=WAY_OUT, errno=refusal.errno)
        return refusal

    def undo(self, plan: Plan) -> list[str]:
        """Bring the functions of a plan that was carried out back to what they were before it; what was not is said.

        Not ``restore``, which goes back to what was before any binding of ours: of two, this undoes the second only.
        """
        with self.journal.locked():
            return self._put_all_back(plan)

    def _put_all_back(self, plan: Plan) -> list[str]:
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
        return failures

    def _roll_back(self, plan: Plan, failure: BaseException) -> None:
        failures = self._put_all_back(plan)
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
        return self._planner.plan("restore", changes)

    def restore(self, addresses: Sequence[str] | None = None, *, force: bool = False) -> list[Restored]:
        """Bring functions back to what they were before we came: all that are in the journal, or those named.

        Raises DeviceBusy where one is open and not ``force``. One that cannot be restored keeps its entry.
        """
        self.plan_restore(addresses).check_free(force=force)
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
