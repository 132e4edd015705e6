# SPDX-License-Identifier: Apache-2.0
"""What stands between a user and a device: one result a check, with evidence, cause and fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.host.doctor.result import Result, Status

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["NEEDED_MEMORY", "Result", "Status", "diagnose", "first_step"]

NEEDED_MEMORY = 4 << 20
"""Bytes that the self-test pins, with room to spare."""


def diagnose(
    machine: Machine | None = None, function: Function | None = None, *, memory: int = NEEDED_MEMORY
) -> list[Result]:
    """Every check of the machine, and of one function where it is given. Reads only, and needs no privilege.

    ``memory``: how many bytes of DMA memory the user is going to map.
    """
    from vfio_ims.host.doctor import cpu, device, iommu, kernel, limits, rules, vfio
    from vfio_ims.host.machine import Machine as ThisMachine

    looked_at = machine or ThisMachine()
    found = [
        *kernel.check(looked_at),
        *iommu.check(looked_at),
        *vfio.check(looked_at, function),
        *rules.check(looked_at),
        *limits.check(looked_at, memory),
        *cpu.check(looked_at),
    ]
    return found + (device.check(looked_at, function) if function is not None else [])


def first_step(results: Sequence[Result]) -> str | None:
    """What to do first of all that ``results`` ask for: the fix of the first failure. None where nothing fails.

    Checks come in the order of their causes, from the kernel to the device: a later one may follow from it.
    """
    return next((result.fix for result in results if result.failed and result.fix), None)
