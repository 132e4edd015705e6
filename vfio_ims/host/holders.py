# SPDX-License-Identifier: Apache-2.0
"""Which processes have VFIO's nodes open, as far as this user may see."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.host.machine import Holder
from vfio_ims.sysfs.attributes import entries, read_text

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["Holder", "Holders", "nodes_of"]


def nodes_of(function: Function) -> tuple[str, ...]:
    """The nodes that open this function, below /dev: its own (cdev) and its group's."""
    own = (f"vfio/devices/{function.vfio_cdev}",) if function.vfio_cdev else ()
    group = function.iommu_group
    prefix = "noiommu-" if group is not None and group.without_iommu else ""
    return (*own, f"vfio/{prefix}{group.number}") if group is not None else own


@dataclass(frozen=True)
class Holders:
    """Open nodes with their holders. ``unseen`` processes belong to other users: what they have open is not known."""

    nodes: Mapping[str, tuple[Holder, ...]] = field(default_factory=dict)
    unseen: int = 0

    def of(self, function: Function) -> tuple[Holder, ...]:
        """Who has this function's nodes open."""
        found = {holder for node in nodes_of(function) for holder in self.nodes.get(f"/dev/{node}", ())}
        return tuple(sorted(found, key=lambda holder: holder.pid))

    @classmethod
    def scan(cls, machine: Machine) -> Holders:
        """Look at every process's descriptors; or at what was recorded of them."""
        if machine.holders is not None:
            return cls(machine.holders)
        found: dict[str, list[Holder]] = {}
        unseen = 0
        for name in entries(machine.proc):
            if not name.isdecimal():
                continue
            folder = machine.proc / name / "fd"
            try:
                descriptors = os.listdir(folder)
            except PermissionError:
                unseen += 1
                continue
            except OSError:  # it has ended
                continue
            for descriptor in descriptors:
                try:
                    target = os.readlink(folder / descriptor)
                except OSError:
                    continue
                if target.startswith("/dev/vfio/") and target != "/dev/vfio/vfio" and _is_open(folder, descriptor):
                    holder = Holder(int(name), read_text(machine.proc / name / "comm") or "?")
                    if holder not in found.setdefault(target, []):
                        found[target].append(holder)
        return cls({node: tuple(holders) for node, holders in found.items()}, unseen)


def _is_open(folder: Path, descriptor: str) -> bool:
    """Whether a descriptor has its file open: with O_PATH it only names it, as udev does to set a node's mode."""
    for line in (read_text(folder.with_name("fdinfo") / descriptor) or "").splitlines():
        if line.startswith("flags:"):
            return not int(line.split()[1], 8) & os.O_PATH
    return True
