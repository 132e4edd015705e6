# SPDX-License-Identifier: Apache-2.0
"""Status, errors and configuration in words, as users of accel-config know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.counted import counted

from ..hardware.commands import error_text
from ..hardware.descriptors import DsaOpcode, IaaOpcode
from ..hardware.registers import Bar0, Cause, State
from ..hardware.software_error import describe
from ..hardware.tables import GROUP_STRIDE, GroupConfig, QueueState
from .accel_config import bitmap_text
from .configuration import queue_entry

if TYPE_CHECKING:
    from .capabilities import Capabilities

__all__ = ["describe_details", "describe_status"]


def describe_status(regs: Bar0) -> str:
    """What is wrong, a line each; "" where the device is enabled and reports nothing. Clears nothing."""
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


def _operations(kind: str, bits: int) -> str:
    known = DsaOpcode if kind == "dsa" else IaaOpcode
    names = [one.name.lower().replace("_", " ") for one in known if bits >> one & 1]
    return f"{', '.join(names)} ({bitmap_text(bits)})"


def describe_details(regs: Bar0, capabilities: Capabilities, kind: str) -> list[tuple[str, str]]:
    """Name and text of each: capabilities, groups, queues as the device has them now, errors."""
    general, queues = capabilities.general, capabilities.queue
    found = [
        ("version", f"{int(capabilities.version):#x}"),
        ("state", f"{regs.GENSTS.read()!r}"),
        ("gen_cap", f"{int(general):#x}"),
        ("max_transfer_size", str(capabilities.max_transfer)),
        ("max_batch_size", str(capabilities.max_batch)),
        ("ims_size", str(capabilities.slots)),
        ("max_work_queues", f"{queues.queues}, {counted(queues.total_size, 'entry')}"),
        ("max_groups", str(capabilities.group.groups)),
        ("max_engines", str(capabilities.engine.engines)),
        ("max_read_buffers", str(capabilities.group.read_buffers)),
        ("interrupt handles", "requested by command" if capabilities.wants_handles else "the table's indices"),
        ("op_cap", _operations(kind, capabilities.operations)),
    ]
    for index in range(capabilities.group.groups):
        at = capabilities.table("groups") + index * GROUP_STRIDE
        entry = GroupConfig(regs.window, at, regs.label)
        members, engines, flags = entry.QUEUES0.read(), entry.ENGINES.read(), entry.FLAGS.read()
        if members or engines:
            text = f"work queues {_numbers(members)}, engines {_numbers(engines)}"
            found.append((f"group {index}", f"{text}, read buffers {flags.read_buffers_allowed}"))
    for index in range(queues.queues):
        queue = queue_entry(regs, capabilities, index)
        size, mode, status = queue.SIZE.read().entries, queue.MODE.read(), queue.STATUS.read()
        if size:
            state = QueueState(status.state).name.lower() if status.state < len(QueueState) else "unknown"
            words = f"{'dedicated' if mode.dedicated else 'shared'}, size {size}, priority {mode.priority}, {state}"
            tag = f", PASID {mode.pasid}" if mode.pasid_enable else ""
            found.append((f"work queue {index}", f"{words}, occupancy {status.occupancy}{tag}"))
    errors = describe_status(regs)
    return [*found, ("errors", errors.replace("\n", "; ") or "none")]


def _numbers(bits: int) -> str:
    return ", ".join(str(n) for n in range(64) if bits >> n & 1) or "none"
