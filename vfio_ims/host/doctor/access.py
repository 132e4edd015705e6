# SPDX-License-Identifier: Apache-2.0
"""Why this user may not open a node, and the command that changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.host.rules import GROUP, RULES_NAME
from vfio_ims.host.rules_place import group_of

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine, Node

__all__ = ["who_may"]


def who_may(machine: Machine, node: Node) -> tuple[str, str]:
    """Cause and fix for a node that this user may not open."""
    user = machine.user.name
    if node.group in ("root", "0") or node.mode & 0o060 != 0o060:
        placed = any(
            (machine.root / where / RULES_NAME).exists() for where in ("etc/udev/rules.d", "usr/lib/udev/rules.d")
        )
        if placed:
            cause = (
                "only root may: the udev rules are there, but were not applied to it, or do not have this device"
                " (udev install --any-device)"
            )
            trigger = "sudo udevadm control --reload; sudo udevadm trigger --subsystem-match=vfio"
            return cause, f"{trigger} --subsystem-match=vfio-dev --subsystem-match=misc; vfio-ims udev check"
        return (
            "only root may: no udev rule gives it to a group",
            f"sudo vfio-ims udev install; sudo usermod -aG {GROUP} {user}",
        )
    _, members = group_of(machine, node.group)
    if user in members:
        cause = f"{user} is a member of group {node.group}, but has been logged in since before that"
        return cause, f"log out and in again, or: newgrp {node.group}"
    return f"{user} is not in group {node.group}", f"sudo usermod -aG {node.group} {user}, and log in again"
