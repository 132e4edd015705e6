# SPDX-License-Identifier: Apache-2.0
"""How a function is bound, and which writes lead from one such state to another. Planning only: nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.sysfs.attributes import read_int

if TYPE_CHECKING:
    from vfio_ims.sysfs import Function

__all__ = ["Binding", "Step", "steps_between"]


@dataclass(frozen=True, slots=True)
class Binding:
    """Driver, driver_override and number of virtual functions (None: the function cannot have any)."""

    driver: str | None
    override: str | None
    virtual: int | None = None

    @classmethod
    def of(cls, function: Function) -> Binding:
        """As it is now."""
        now = function.fresh()
        return cls(now.driver, now.driver_override, read_int(now.path / "sriov_numvfs"))

    def __str__(self) -> str:
        parts = [self.driver or "no driver"]
        if self.override is not None:
            parts.append(f"driver_override {self.override}")
        if self.virtual:
            parts.append(f"{counted(self.virtual, 'virtual function')}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Step:
    """One write, ``path`` counted from /sys, and what must be true after it: ("driver", "vfio-pci")."""

    path: str
    text: str
    checks: str
    expected: str | int | None

    def __str__(self) -> str:
        shown = self.text.strip() or "(empty line)"
        return f"echo {shown} > /sys/{self.path}" if self.text.strip() else f"echo > /sys/{self.path}"


def _override(address: str, to: str | None) -> Step:
    # An empty line clears it: an empty write is none at all, since the kernel is never called for it.
    return Step(f"bus/pci/devices/{address}/driver_override", f"{to or ''}\n", "override", to)


def _virtual(address: str, count: int) -> Step:
    return Step(f"bus/pci/devices/{address}/sriov_numvfs", str(count), "virtual", count)


def steps_between(address: str, now: Binding, wanted: Binding) -> list[Step]:
    """The writes that lead from ``now`` to ``wanted``, in order; none where they are the same.

    The override comes before a driver lets go, so that nothing else takes the function in between. Virtual functions
    go first and come last: their number can only be written while a driver that has them is bound.
    """
    steps = []
    count = 0 if now.virtual is None or wanted.virtual is None else now.virtual
    override = now.override
    if count and (count != wanted.virtual or now.driver != wanted.driver):
        steps.append(_virtual(address, 0))
        count = 0
    if now.driver != wanted.driver:
        # A driver binds only under no override or its own name; a foreign one that is wanted comes after that.
        meanwhile = wanted.override if wanted.override in (None, wanted.driver) else wanted.driver
        if wanted.driver is not None and override != meanwhile:
            steps.append(_override(address, meanwhile))
            override = meanwhile
        if now.driver is not None:
            steps.append(Step(f"bus/pci/drivers/{now.driver}/unbind", address, "driver", None))
        if wanted.driver is not None:
            steps.append(Step(f"bus/pci/drivers/{wanted.driver}/bind", address, "driver", wanted.driver))
    if override != wanted.override:
        steps.append(_override(address, wanted.override))
    if wanted.virtual and count != wanted.virtual:
        steps.append(_virtual(address, wanted.virtual))
    return steps
