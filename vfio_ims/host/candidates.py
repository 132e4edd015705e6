# SPDX-License-Identifier: Apache-2.0
"""Which functions of this machine have, or may have, IMS, and what each still needs before it can be opened."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vfio_ims.driver import Family
from vfio_ims.families import all_families
from vfio_ims.pci.siov import ims_hint
from vfio_ims.sysfs import Function, functions
from vfio_ims.verbs import Evidence

__all__ = ["Candidate", "State", "candidates", "state_of"]

_VFIO = "vfio-pci"


class State(StrEnum):
    """How far a function is from being opened."""

    USABLE = "usable"
    NEEDS_BIND = "needs bind"
    NEEDS_PERMISSION = "needs permission"
    GROUP_NOT_VIABLE = "group not viable"
    NO_IOMMU = "no IOMMU"


@dataclass(frozen=True)
class Candidate:
    """One function: who knows it, what its config space hints, its state and why."""

    function: Function
    family: Family | None
    hint: Evidence
    state: State
    why: str

    def to_json(self) -> dict[str, object]:
        """Plain values; see docs/json.md."""
        group = self.function.iommu_group
        return {
            "address": str(self.function.address),
            "id": self.function.id,
            "family": None if self.family is None else self.family.name,
            "ims": {"answer": self.hint.answer, "evidence": self.hint.text, "would_tell": self.hint.would_tell},
            "state": str(self.state),
            "why": self.why,
            "driver": self.function.driver,
            "iommu_group": None if group is None else group.number,
            "numa_node": self.function.numa_node,
            "names": list(self.function.names),
        }


def candidates(root: Path = Path("/sys"), dev: Path = Path("/dev"), *, everything: bool = False) -> list[Candidate]:
    """The functions that a family knows or whose DVSEC says IMS, by address; all of them with ``everything``."""
    families = all_families()
    found = []
    for function in functions(root):
        family = _family(function, families)
        capabilities = function.capabilities
        if capabilities is None:
            hint = Evidence(None, "config space cannot be read", "reading it as root")
        else:
            hint = ims_hint(capabilities)
        if everything or family is not None or hint.answer:
            state, why = state_of(function, dev)
            found.append(Candidate(function, family, hint, state, why))
    return found


def _family(function: Function, families: Iterable[Family]) -> Family | None:
    if function.vendor is None or function.device is None:
        return None
    return next((family for family in families if family.matches(function.vendor, function.device)), None)


def state_of(function: Function, dev: Path = Path("/dev")) -> tuple[State, str]:
    """What ``function`` still needs, and why."""
    if function.driver != _VFIO:
        bound = f"bound to {function.driver}" if function.driver else "bound to no driver"
        return State.NEEDS_BIND, bound
    group = function.iommu_group
    if group is None:
        return State.NO_IOMMU, "it is in no IOMMU group: enable the IOMMU in firmware and kernel"
    others = [one for one in group.members if one.driver not in (None, _VFIO) and not _is_bridge(one)]
    if others:
        return State.GROUP_NOT_VIABLE, f"{others[0].address} of group {group.number} is bound to {others[0].driver}"
    nodes = [dev / "vfio" / str(group.number)]
    if function.vfio_cdev is not None:
        nodes.append(dev / "vfio/devices" / function.vfio_cdev)
    there = [node for node in nodes if node.exists()]
    if any(os.access(node, os.R_OK | os.W_OK) for node in there):
        return State.USABLE, f"bound to {_VFIO}"
    return State.NEEDS_PERMISSION, f"no access to {there[0] if there else nodes[0]}"


def _is_bridge(function: Function) -> bool:
    return function.class_code is not None and function.class_code >> 8 == 0x0604
