# SPDX-License-Identifier: Apache-2.0
"""How the device's entries, queues, groups and engines are put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError

from ..hardware.registers import Bar0
from ..hardware.tables import GROUP_STRIDE, GroupConfig, QueueConfig

if TYPE_CHECKING:
    from .capabilities import Capabilities

__all__ = ["LAST_WITH_CLASSES", "TRAFFIC_CLASS", "Configuration", "Group", "Queue", "default_class"]

TRAFFIC_CLASS = 1  # both classes of a group: SPDK for all, DPDK up to version 0x200
LAST_WITH_CLASSES = 0x200
_PRIORITY = 10  # Linux' default is what its administrator writes; relative to the other queues of the group
_DWORDS = 8


def default_class(version: int) -> int:
    """The traffic class of a group for which none was chosen."""
    return TRAFFIC_CLASS if version <= LAST_WITH_CLASSES else 0


@dataclass(frozen=True, slots=True)
class Queue:
    """One work queue. ``size`` 0: not used. ``threshold``: entries of a shared queue that ENQCMD may fill."""

    index: int
    size: int
    group: int
    dedicated: bool = True
    priority: int = _PRIORITY
    threshold: int = 0
    block_on_fault: bool = False
    ats: bool = True
    prs: bool = True
    pasid: int | None = None
    privileged: bool = False
    max_transfer_shift: int | None = None
    max_batch_shift: int | None = None
    operations: int | None = None
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    """What accel-config's files say beside: kept, and without a meaning here."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group: the engines that serve its queues."""

    index: int
    engines: tuple[int, ...] = ()
    read_buffers_reserved: int = 0
    read_buffers_allowed: int = 0
    use_read_buffer_limit: bool = False
    traffic_class_a: int = TRAFFIC_CLASS
    traffic_class_b: int = TRAFFIC_CLASS
    descriptor_progress_limit: int = 0
    batch_progress_limit: int = 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that is written between reset and enable."""

    queues: tuple[Queue, ...]
    groups: tuple[Group, ...]
    read_buffer_limit: int = 0
    event_log: int = 0

    @classmethod
    def even(cls, capabilities: Capabilities, *, dedicated: bool = True) -> Configuration:
        """Every queue used and alike: entries split evenly, queues and engines dealt to the groups in turn."""
        queues, engines = capabilities.queue.queues, capabilities.engine.engines
        size = capabilities.queue.total_size // max(queues, 1)
        used = max(1, min(capabilities.group.groups, queues, engines))
        classes = default_class(capabilities.version)
        groups = [
            Group(
                index,
                tuple(range(index, engines, used)) if index < used else (),
                read_buffers_allowed=capabilities.group.read_buffers // used if index < used else 0,
                traffic_class_a=classes,
                traffic_class_b=classes,
            )
            for index in range(capabilities.group.groups)
        ]
        threshold = 0 if dedicated else size
        return cls(
            tuple(Queue(n, size, n % used, dedicated, threshold=threshold) for n in range(queues)), tuple(groups)
        )

    def queue(self, index: int) -> Queue:
        """The queue with that number; UsageError where it is not configured."""
        for queue in self.queues:
            if queue.index == index:
                return queue
        raise UsageError("look up a work queue", why=f"the configuration has no queue {index}")

    def with_queue(self, index: int, **changes: object) -> Configuration:
        """A copy with one queue changed."""
        self.queue(index)
        queues = tuple(replace(q, **changes) if q.index == index else q for q in self.queues)  # type: ignore[arg-type]
        return replace(self, queues=queues)

    def write(self, regs: Bar0, capabilities: Capabilities) -> None:
        """Write it to a disabled device: GRPCFG of every group (unused ones zero), then WQCFG of every queue."""
        regs.GENCFG.write(read_buffer_limit=self.read_buffer_limit)
        groups = {group.index: group for group in self.groups}
        for index in range(capabilities.group.groups):
            group = groups.get(index, Group(index, traffic_class_a=0, traffic_class_b=0))
            members = [queue.index for queue in self.queues if queue.size and queue.group == index]
            at = capabilities.table("groups") + index * GROUP_STRIDE
            _write_group(GroupConfig(regs.window, at, regs.label), group, members)
        queues = {queue.index: queue for queue in self.queues}
        for index in range(capabilities.queue.queues):
            write_queue(regs, capabilities, queues.get(index, Queue(index, 0, 0, priority=0)))


def _mask(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in set(numbers))


def _write_group(entry: GroupConfig, group: Group, queues: Sequence[int]) -> None:
    members = _mask(queues)
    for number, register in enumerate((entry.QUEUES0, entry.QUEUES1, entry.QUEUES2, entry.QUEUES3)):
        register.write(members >> 64 * number & (1 << 64) - 1)
    entry.ENGINES.write(_mask(group.engines))
    entry.FLAGS.write(
        traffic_class_a=group.traffic_class_a,
        traffic_class_b=group.traffic_class_b,
        use_read_buffer_limit=group.use_read_buffer_limit,
        read_buffers_reserved=group.read_buffers_reserved,
        read_buffers_allowed=group.read_buffers_allowed,
        descriptor_progress_limit=group.descriptor_progress_limit,
        batch_progress_limit=group.batch_progress_limit,
    )


def queue_entry(regs: Bar0, capabilities: Capabilities, index: int) -> QueueConfig:
    """WQCFG of queue ``index`` on the device."""
    return QueueConfig(regs.window, capabilities.table("queues") + index * capabilities.queue_stride, regs.label)


def queue_mode(queue: Queue) -> int:
    """WQCFG dword 2 of ``queue``."""
    return QueueConfig.MODE.value(
        dedicated=queue.dedicated,
        block_on_fault=queue.block_on_fault,
        ats_disable=not queue.ats,
        prs_disable=not queue.prs,
        priority=queue.priority,
        pasid=queue.pasid or 0,
        pasid_enable=queue.pasid is not None,
        privileged=queue.privileged,
    )


def write_queue(regs: Bar0, capabilities: Capabilities, queue: Queue) -> None:
    """WQCFG of one queue, as 32-bit writes in order. The queue must be disabled."""
    general = capabilities.general
    transfer = general.max_transfer_shift if queue.max_transfer_shift is None else queue.max_transfer_shift
    batch = general.max_batch_shift if queue.max_batch_shift is None else queue.max_batch_shift
    entry = queue_entry(regs, capabilities, queue.index)
    entry.SIZE.write(entries=queue.size)
    entry.THRESHOLD.write(entries=queue.threshold)
    entry.MODE.write(queue_mode(queue))
    lists = capabilities.max_sgl_shift  # the most there is, as Linux has it by default
    entry.LIMITS.write(max_transfer_shift=transfer, max_batch_shift=batch, max_sgl_shift=lists)
    entry.OCCUPANCY_INTERRUPT.write(0)
    entry.OCCUPANCY_LIMIT.write(0)
    entry.STATUS.write(0)
    if capabilities.queue.op_config:
        operations = capabilities.operations if queue.operations is None else queue.operations
        at = entry.base + 4 * _DWORDS
        regs.window.write_block(at, operations.to_bytes(32, "little"), 4)
