# SPDX-License-Identifier: Apache-2.0
"""Whether a configuration fits the device's registers, before anything is stopped or written for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError

from ..hardware.registers import Bar0
from ..hardware.tables import GroupConfig, QueueConfig

if TYPE_CHECKING:
    from vfio_ims.registers import Register

    from .capabilities import Capabilities
    from .configuration import Configuration

__all__ = ["check_fits"]

_QUEUE: tuple[tuple[str, Register, str], ...] = (
    ("size", QueueConfig.SIZE, "entries"),
    ("threshold", QueueConfig.THRESHOLD, "entries"),
    ("priority", QueueConfig.MODE, "priority"),
    ("pasid", QueueConfig.MODE, "pasid"),
    ("max_transfer_shift", QueueConfig.LIMITS, "max_transfer_shift"),
    ("max_batch_shift", QueueConfig.LIMITS, "max_batch_shift"),
)
_GROUP = (
    "traffic_class_a",
    "traffic_class_b",
    "read_buffers_reserved",
    "read_buffers_allowed",
    "descriptor_progress_limit",
    "batch_progress_limit",
)


def check_fits(configuration: Configuration, capabilities: Capabilities, device: str) -> None:
    """Raise UsageError that names the field which the device has no room for.

    What fits the registers may be refused all the same: the device says so when it is enabled.
    """

    def check(name: str, value: int | None, most: int) -> None:
        if value is not None and not 0 <= value <= most:
            raise UsageError("configure the device", device=device, why=f"{name} must be 0 to {most}, not {value}")

    check("read_buffer_limit", configuration.read_buffer_limit, _most(Bar0.GENCFG, "read_buffer_limit"))
    for queue in configuration.queues:
        where = f"of work queue {queue.index}"
        check("the index of a work queue", queue.index, capabilities.queue.queues - 1)
        if queue.size:
            check(f"the group {where}", queue.group, capabilities.group.groups - 1)
        for name, register, field in _QUEUE:
            check(f"{name} {where}", getattr(queue, name), _most(register, field))
        check(f"operations {where}", queue.operations, (1 << 256) - 1)
    for group in configuration.groups:
        where = f"of group {group.index}"
        check("the index of a group", group.index, capabilities.group.groups - 1)
        for engine in group.engines:
            check(f"an engine {where}", engine, capabilities.engine.engines - 1)
        for name in _GROUP:
            check(f"{name} {where}", getattr(group, name), _most(GroupConfig.FLAGS, name))


def _most(register: Register, field: str) -> int:
    return (1 << register.fields[field].width) - 1
