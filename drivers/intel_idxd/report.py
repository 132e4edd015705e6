# SPDX-License-Identifier: Apache-2.0
"""Status and error registers in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .commands import error_text
from .registers import Bar0, Cause, State
from .software_error import describe

if TYPE_CHECKING:
    from .driver import Idxd

__all__ = ["describe_status"]


def describe_status(driver: Idxd) -> str:
    """What is wrong, a line each; "" where the device is enabled and reports nothing. Clears nothing."""
    regs = driver.device.bar(0).bind(Bar0)
    state = regs.GENSTS.read()
    if state == 0xFFFF_FFFF:
        return "GENSTS reads all ones: no device answers"
    lines = []
    if state.state != State.ENABLED:
        lines.append(f"the device is not enabled: {state!r}")
    command = regs.CMDSTS.read()
    if command.active:
        lines.append("a command is active")
    elif command.error:
        lines.append(f"the last command failed: {error_text(command.error)}")
    error = describe(regs.SWERR.read())
    if error:
        lines.append(error)
    cause = regs.INTCAUSE.read()
    names = [one.name.lower().replace("_", " ") for one in Cause if cause >> one & 1 and one is not Cause.COMMAND]
    if names:
        lines.append(f"vector 0 was raised for: {', '.join(names)}")
    return "\n".join(lines)
