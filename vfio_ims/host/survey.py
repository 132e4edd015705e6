# SPDX-License-Identifier: Apache-2.0
"""Which functions of a machine have, or may have, IMS, and what each still needs before it can be opened."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from vfio_ims.backends.kernel.claim import claimed_by
from vfio_ims.counted import counted
from vfio_ims.families import Family, all_families
from vfio_ims.host.denylist import denied
from vfio_ims.host.guest import iommu_on
from vfio_ims.host.holders import Holders, nodes_of
from vfio_ims.host.idnames import names_of
from vfio_ims.host.in_use import Uses
from vfio_ims.host.machine import Machine
from vfio_ims.host.selection import Selection
from vfio_ims.host.state import State, bridge
from vfio_ims.pci.capabilities import Diagnosis
from vfio_ims.pci.capabilities.walk import walk_extended
from vfio_ims.pci.class_names import class_name
from vfio_ims.pci.config import ConfigSpace
from vfio_ims.pci.support_hints import ims_hint
from vfio_ims.ports.evidence import Evidence
from vfio_ims.sysfs import Function
from vfio_ims.sysfs.kernel_drivers import group_blockers, is_vfio_driver

_DVSEC = 0x0023  # extended capability id (PCIe base spec 6.0, 7.9.6)

__all__ = ["Candidate", "Survey", "candidates", "unseen"]


@dataclass(frozen=True)
class Candidate:
    """One function: who knows it, what its config space hints, its state, why, and the next step."""

    function: Function
    family: Family | None
    hint: Evidence
    state: State
    why: str
    next: str = ""
    used_by: tuple[str, ...] = ()
    node: str | None = None
    title: str | None = None

    def to_json(self) -> dict[str, object]:
        """Plain values; see docs/json.md."""
        function = self.function
        group, link = function.iommu_group, function.link
        return {
            "address": str(function.address),
            "id": function.id,
            "title": self.title,
            "class": None if function.class_code is None else f"{function.class_code:06x}",
            "class_name": None if function.class_code is None else class_name(function.class_code),
            "family": None if self.family is None else self.family.name,
            "ims": {"answer": self.hint.answer, "evidence": self.hint.text, "to_find_out": self.hint.to_find_out},
            "state": str(self.state),
            "why": self.why,
            "next": self.next,
            "used_by": list(self.used_by),
            "driver": function.driver,
            "driver_override": function.driver_override,
            "iommu_group": None if group is None else group.number,
            "group_members": [] if group is None else [str(one) for one in group.members],
            "numa_node": function.numa_node,
            "node": self.node,
            "link": None if link is None else str(link),
            "names": list(function.names),
        }


def _without_dvsec(config: ConfigSpace) -> bool:
    """Whether the extended list is whole and has no DVSEC: most functions need no decoding."""
    faults: list[Diagnosis] = []
    offsets = walk_extended(config, faults) if config.extended_readable and not config.absent else []
    return bool(offsets) and not faults and all(config.read(offset, 2) != _DVSEC for offset in offsets)


class Survey:
    """One look at a machine: what is costly to find out is found out once, for all functions."""

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = machine or Machine()
        self.families = all_families()
        self.uses = Uses(self.machine)

    @cached_property
    def _iommu_on(self) -> str:
        return f"{iommu_on(self.machine)}; vfio-ims doctor"

    @cached_property
    def holders(self) -> Holders:
        """Which processes have VFIO's nodes open."""
        return Holders.scan(self.machine)

    def family(self, function: Function) -> Family | None:
        """Who knows it by its ids."""
        if function.vendor is None or function.device is None:
            return None
        vendor, device = function.vendor, function.device
        return next((family for family in self.families if family.matches(vendor, device)), None)

    def hint(self, function: Function) -> Evidence:
        """What its config space says of IMS."""
        config = function.config
        if config is None:
            return Evidence(None, "config space cannot be read", "reading it as root")
        if _without_dvsec(config):
            return Evidence(False, f"there is no DVSEC that could have one (read from {config.source})")
        capabilities = function.capabilities
        assert capabilities is not None
        return ims_hint(capabilities)

    def node(self, function: Function) -> str | None:
        """The node to open: its own where the kernel has one, else its group's."""
        return next((f"/dev/{node}" for node in nodes_of(function) if self.machine.node(node)), None)

    def state(self, function: Function) -> tuple[State, str, str, tuple[str, ...]]:
        """State, why, the next step, and who uses it."""
        bind = f"vfio-ims bind {function.address}"
        if function.config is not None and function.config.absent:
            why = "its vendor id reads as all ones: it is lost, powered down or in reset"
            return State.LOST, why, f"echo 1 | sudo tee /sys/bus/pci/devices/{function}/remove /sys/bus/pci/rescan", ()
        if not is_vfio_driver(function.driver):
            return self._unbound(function, f"sudo {bind}")
        group = function.iommu_group
        if group is None or group.without_iommu:
            why = "no IOMMU stands in front of it"
            return State.NO_IOMMU, why, self._iommu_on, ()
        others = group_blockers(function)
        if others:
            named = ", ".join(f"{one.address} (driver {one.driver})" for one in others)
            return State.GROUP_NOT_VIABLE, f"{named} in group {group.number} blocks it", f"sudo {bind} --group", ()
        nodes = [node for name in nodes_of(function) if (node := self.machine.node(name)) is not None]
        holders = tuple(map(str, self.holders.of(function)))
        claimed = None if holders else claimed_by(str(function), self.machine.dev)
        if claimed is not None:
            holders = (str(claimed),)
        if holders:
            return State.IN_USE, f"opened by {', '.join(holders)}", "", holders
        if any(node.accessible for node in nodes):
            return State.USABLE, f"bound to {function.driver}", f"vfio-ims selftest {function.address}", ()
        if not nodes:
            why = f"bound to {function.driver}, but there is no node for it in /dev/vfio"
            return State.NEEDS_PERMISSION, why, f"vfio-ims doctor {function.address}", ()
        return State.NEEDS_PERMISSION, str(nodes[0]), f"vfio-ims doctor {function.address}", ()

    def _unbound(self, function: Function, bind: str) -> tuple[State, str, str, tuple[str, ...]]:
        bound = f"bound to {function.driver}" if function.driver else "bound to no driver"
        uses = self.uses.of(function)
        kind = bridge(function)
        if kind is not None:
            return State.BRIDGE, f"a {kind}: it stays with the kernel", "", uses
        refused = denied(function, self.machine)
        if refused is not None:
            return State.DENIED, refused, f"vfio-ims doctor {function.address}", uses
        if function.iommu_group is None:
            why = f"{bound}, and no IOMMU stands in front of it"
            return State.NO_IOMMU, why, self._iommu_on, uses
        if uses:
            return State.IN_USE, f"{bound}: {'; '.join(uses)}", "", uses
        return State.NEEDS_BIND, bound, bind, ()

    def candidate(self, function: Function, title: str | None = None) -> Candidate:
        """All about one function."""
        state, why, following, users = self.state(function)
        node = self.node(function)
        return Candidate(
            function, self.family(function), self.hint(function), state, why, following, users, node, title
        )


def candidates(
    machine: Machine | None = None, selection: Selection | None = None, *, everything: bool = False
) -> list[Candidate]:
    """The functions of ``machine`` (this one by default) that a family knows or whose DVSEC says IMS, by address.

    A ``selection`` that names functions, or ``everything``, lists the others too. Reads sysfs only.
    """
    survey = Survey(machine)
    chosen = selection or Selection()
    picked = [function for function in survey.machine.functions() if chosen.takes(function)]
    if not everything and chosen.open:
        picked = [one for one in picked if survey.family(one) is not None or survey.hint(one).answer]
    titles = names_of(picked, survey.machine)
    return [survey.candidate(function, titles.get(function.id or "")) for function in picked]


def unseen(found: Collection[Candidate], machine: Machine | None = None) -> list[str]:
    """What this user could not see, in sentences, with what would show it."""
    sentences = []
    user = (machine or Machine()).user
    unread = sum(1 for one in found if one.hint.answer is None)
    if unread and not user.administers:
        sentences.append(
            f"IMS is unknown for {unread} of {counted(len(found), 'function')}: to this user the kernel shows 64 bytes"
            " of config space, and the DVSEC lies beyond. As root: sudo vfio-ims list"
        )
    if not user.privileged and any(one.state is State.USABLE for one in found):
        sentences.append(
            "a usable function may be open in another user's program all the same: its descriptors cannot be seen"
        )
    return sentences
