# SPDX-License-Identifier: Apache-2.0
"""Giving the nodes of a function to a user, until they vanish with the next unbind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.errors import AccessDenied, SetupError, UsageError
from vfio_ims.host.holders import nodes_of

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["give_nodes"]


def give_nodes(machine: Machine, function: Function, owner: str) -> list[Path]:
    """Make ``owner`` ("user" or "user:group", names or numbers) the owner of its nodes; returns these.

    /dev/iommu, which all share, stays as it is. Raises UsageError, SetupError, AccessDenied.
    """
    user, _, group = owner.partition(":")
    nodes = [place for node in nodes_of(function.fresh()) if (place := machine.dev / node).exists()]
    if not nodes:
        why = "it has no nodes in /dev/vfio: it is not bound to a VFIO driver, or this is a container"
        raise SetupError("give its nodes away", device=str(function), why=why, hint=f"vfio-ims doctor {function}")
    for node in nodes:
        try:
            shutil.chown(node, _number(user), _number(group) if group else None)
            os.chmod(node, 0o660 if group else 0o600)
        except LookupError as error:
            raise UsageError(f"give {node} to {owner}", device=str(function), why=str(error)) from error
        except PermissionError as error:
            hint = "the same command with sudo"
            raise AccessDenied(f"give {node} to {owner}", device=str(function), hint=hint, errno=error.errno) from error
    return nodes


def _number(name: str) -> int | str:
    return int(name) if name.isdecimal() else name
