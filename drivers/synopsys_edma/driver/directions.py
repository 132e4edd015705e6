# SPDX-License-Identifier: Apache-2.0
"""The registers of eDMA v0 that all channels of one direction share."""

from __future__ import annotations

from dataclasses import dataclass

from vfio_ims.registers import BoundRegister

from ..hardware.registers import Common

__all__ = ["Direction", "directions"]


@dataclass(frozen=True, slots=True)
class Direction:
    """The registers that one direction's channels share."""

    name: str
    enable: BoundRegister
    doorbell: BoundRegister
    status: BoundRegister
    mask: BoundRegister
    clear: BoundRegister
    list_errors: BoundRegister
    errors: tuple[BoundRegister, ...]


def directions(regs: Common) -> tuple[Direction, Direction]:
    """Writes, then reads."""
    write = Direction(
        "write",
        regs.WRITE_ENABLE,
        regs.WRITE_DOORBELL,
        regs.WRITE_STATUS,
        regs.WRITE_MASK,
        regs.WRITE_CLEAR,
        regs.WRITE_LIST_ERRORS,
        (regs.WRITE_ERROR,),
    )
    read = Direction(
        "read",
        regs.READ_ENABLE,
        regs.READ_DOORBELL,
        regs.READ_STATUS,
        regs.READ_MASK,
        regs.READ_CLEAR,
        regs.READ_LIST_ERRORS,
        (regs.READ_ERROR, regs.READ_ERROR_HIGH),
    )
    return write, read
