# SPDX-License-Identifier: Apache-2.0
"""The machine's part of a proof: its checks, binding the function, and putting back what was there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.host.doctor import Status, diagnose, first_step
from vfio_ims.interruption import uninterrupted
from vfio_ims.proof.footprint import Footprint
from vfio_ims.proof.stage_log import Fails, NotNeeded
from vfio_ims.sysfs.kernel_drivers import is_vfio_driver

if TYPE_CHECKING:
    from vfio_ims.host import Binder, Machine, Plan
    from vfio_ims.host.doctor import Result
    from vfio_ims.sysfs import Function

__all__ = ["HostStages"]


class HostStages:
    """``function``: None for a device in software, which needs nothing of the machine.

    ``siblings``: members of its group that kernel drivers have are bound too; ``force``: also what is in use.
    """

    def __init__(
        self, machine: Machine, function: Function | None, binder: Binder, *, siblings: bool, force: bool
    ) -> None:
        self._machine, self._function, self._binder = machine, function, binder
        self._siblings, self._force = siblings, force
        self._plan: Plan | None = None
        self._footprint: Footprint | None = None
        self.checks: list[Result] = []
        self.before: dict[str, str] = {}
        self.after: dict[str, str] = {}

    def doctor(self) -> str:
        """Fails where a check does, unless binding, which comes next, corrects it."""
        if self._function is None:
            raise NotNeeded("a device in software: no PCI function of this machine is involved")
        self.checks = diagnose(self._machine, self._function)
        failing = [one for one in self.checks if one.failed and not self._corrected_by_binding(one)]
        if failing:
            raise Fails("; ".join(f"{one.check}: {one.evidence}" for one in failing), first_step(failing) or "")
        counts = {status: sum(one.status == status for one in self.checks if not one.failed) for status in Status}
        return ", ".join(f"{count} {status}" for status, count in counts.items() if count)

    def _corrected_by_binding(self, result: Result) -> bool:
        corrected = {"driver", "IOMMU group"} if self._siblings else {"driver"}
        return result.group == str(self._function) and result.check in corrected

    def bind(self) -> str:
        """Bind the function to vfio-pci where it is not; what the machine was like before is kept."""
        function = self._function
        if function is None:
            raise NotNeeded("a device in software: nothing to bind")
        state = self._binder.journal.folder.parent
        self._footprint = Footprint(self._machine, function, state)
        self.before = self._footprint.take()
        if is_vfio_driver(function.fresh().driver):
            raise NotNeeded(f"bound to {function.driver} already")
        plan = self._binder.plan_bind([function], siblings=self._siblings)
        others = [change.function for change in plan.changes if change.function.address != function.address]
        self._footprint = Footprint(self._machine, function, state, others)
        self.before = self._footprint.take()
        with uninterrupted():  # either bound and known to be, or not
            self._binder.carry_out(plan, force=self._force)
            self._plan = plan
        also = f", with {counted(len(others), 'other function')} of its group" if others else ""
        was = next(change.now for change in plan.changes if change.function.address == function.address)
        return f"to vfio-pci, was {was}{also}"

    def restore(self) -> str:
        """Put back what was bound, and look at the machine again."""
        if self._footprint is None:
            raise NotNeeded("nothing was bound")
        failures = self._binder.undo(self._plan) if self._plan is not None else []
        self.after = self._footprint.take()
        if failures:
            raise Fails("; ".join(failures), "vfio-ims restore, when its cause is gone")
        if self.after != self.before:
            names = {**self.before, **self.after}
            changed = [name for name in names if self.before.get(name) != self.after.get(name)]
            raise Fails(f"{', '.join(changed)}: not as before", "vfio-ims doctor DEVICE")
        binding = self.after[f"binding of {self._function}"]
        return f"{binding}: {counted(len(self.after), 'thing')} of the machine as before"
