# SPDX-License-Identifier: Apache-2.0
"""SWERR in words: what the device could not report in a completion record."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from .registers import Bar0
from .status import status_text

if TYPE_CHECKING:
    from vfio_ims.registers import RegisterValue

__all__ = ["NOT_ENABLED", "OVERRUN", "WRONG_STORE", "acknowledge", "describe", "submission_text"]

_ACKNOWLEDGE = 0b11  # valid and overflow
_AT = Bar0.SWERR.offset

NOT_ENABLED, OVERRUN, WRONG_STORE = 0xE0, 0xE1, 0xE2
"""Submissions that a portal drops. No public source has the hardware's numbers: these are our model's own."""

_SUBMISSION = {
    NOT_ENABLED: "a descriptor was sent to a work queue that is not enabled, and lost",
    OVERRUN: "a descriptor was sent to a dedicated work queue that was full, and lost",
    WRONG_STORE: "a posted store was sent to a shared work queue, and lost: it takes ENQCMD",
}


def acknowledge(regs: Bar0) -> None:
    """Clear valid and overflow, so that the next error can be recorded. One write of 64 bits."""
    regs.window.write64(regs.base + _AT, _ACKNOWLEDGE)


def submission_text(code: int) -> str:
    """The error code: a completion status, or one of our model's own."""
    return f"{code:#x}: {_SUBMISSION[code]}" if code in _SUBMISSION else status_text(code).removeprefix("status ")


@lru_cache(maxsize=32)  # who provokes an error over and over gets the same one
def describe(error: RegisterValue) -> str:
    """Every field that is valid; "" where there is no error."""
    if not error.valid:
        return ""
    parts = [f"software error {submission_text(error.error)}"]
    if error.queue_valid:
        parts.append(f"work queue {error.queue}")
    if error.descriptor_valid:
        parts.append(f"operation {error.operation:#x}")
        if error.pasid:
            parts.append(f"PASID {error.pasid:#x}")
        if error.privileged:
            parts.append("privileged")
    if error.batch:
        parts.append(f"descriptor {error.batch_index} of a batch")
    if error.address:
        parts.append(f"{'write' if error.write else 'read'} at {error.address:#x}")
    if error.invalid_flags:
        parts.append(f"invalid flags {error.invalid_flags:#x}")
    if error.overflow:
        parts.append("and more that were not recorded")
    return ", ".join(parts)
