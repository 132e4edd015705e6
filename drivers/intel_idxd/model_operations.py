# SPDX-License-Identifier: Apache-2.0
"""What the modelled engines do: the operations that DSA and IAA share, moving and filling memory, batches."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from .descriptors import DESCRIPTOR_SIZE, Descriptor, DsaOpcode, Flag
from .model_memory import Memory, PageFault
from .status import Status

if TYPE_CHECKING:
    from .model import IdxdModel
    from .model_executor import Executor
    from .model_queues import Work

__all__ = ["DSA_FLAGS", "Result", "operate"]

_HEAD = Struct("<BBHIQ")
_READ_WRITE = int(
    Flag.BLOCK_ON_FAULT | Flag.CACHE_CONTROL | Flag.ADDRESS1_CLASS | Flag.ADDRESS2_CLASS | Flag.STRICT_ORDERING
)
DSA_FLAGS: dict[int, int] = {
    DsaOpcode.NOP: 0,
    DsaOpcode.BATCH: (Flag.ADDRESS1_CLASS | Flag.BLOCK_ON_FAULT),
    DsaOpcode.DRAIN: (Flag.ADDRESS1_CLASS | Flag.ADDRESS2_CLASS),
    DsaOpcode.MEMMOVE: _READ_WRITE | (Flag.READBACK | Flag.STEERING),
    DsaOpcode.FILL: _READ_WRITE & ~(Flag.ADDRESS1_CLASS) | (Flag.READBACK | Flag.STEERING),
}
"""Flags that an operation takes beside those of completion."""


@dataclass(frozen=True, slots=True)
class Result:
    """The contents of a completion record."""

    status: int = Status.SUCCESS
    result: int = 0
    completed: int = 0
    fault: int = 0
    specific: bytes = b""
    invalid_flags: int = 0

    @property
    def plain(self) -> bool:
        """Whether the first 8 bytes say it all."""
        return not (self.fault or self.specific or self.invalid_flags)

    def head(self, size: int) -> bytes:
        return _HEAD.pack(self.status, self.result, 0, self.completed, 0).ljust(size, b"\0")

    def record(self, size: int) -> bytes:
        specific = self.specific or self.invalid_flags.to_bytes(4, "little")
        return (_HEAD.pack(self.status, self.result, 0, self.completed, self.fault) + specific).ljust(size, b"\0")


def operate(model: IdxdModel, executor: Executor, memory: Memory, work: Work, descriptor: Descriptor) -> Result:
    """DSA's operations. Raises PageFault."""
    opcode, size = descriptor.opcode, descriptor.size
    if opcode in (DsaOpcode.NOP, DsaOpcode.DRAIN):
        return Result()  # work runs in order: what came before is done
    if opcode == DsaOpcode.BATCH:
        return _batch(model, executor, memory, work, descriptor)
    if not 0 < size <= work.queue.max_transfer:
        return Result(Status.SIZE)
    if opcode == DsaOpcode.MEMMOVE:
        return _memmove(memory, descriptor)
    if opcode == DsaOpcode.FILL:
        return _fill(memory, descriptor)
    return Result(Status.OPCODE)


def _memmove(memory: Memory, descriptor: Descriptor) -> Result:
    source, to, size = descriptor.source, descriptor.destination, descriptor.size
    try:
        memory.copy(to, source, size)
    except PageFault as fault:
        backward = source < to < source + size
        code = Status.PAGE_FAULT | (0x80 if fault.write else 0)
        return Result(code, int(backward), fault.done, fault.address)
    return Result()


def _fill(memory: Memory, descriptor: Descriptor) -> Result:
    size = descriptor.size
    pattern = descriptor.source.to_bytes(8, "little")
    memory.write(descriptor.destination, (pattern * -(-size // 8))[:size])
    return Result()


def _batch(model: IdxdModel, executor: Executor, memory: Memory, work: Work, descriptor: Descriptor) -> Result:
    """Fetch the list and run it in order. A fenced descriptor runs only if all before it succeeded."""
    count, at = descriptor.size, descriptor.source
    if at % DESCRIPTOR_SIZE:
        return Result(Status.LIST_ALIGN)
    if not 2 <= count <= work.queue.max_batch:
        return Result(Status.COUNT)
    failed = done = 0
    for index in range(count):
        try:
            inner = Descriptor.decode(memory.read(at + index * DESCRIPTOR_SIZE, DESCRIPTOR_SIZE))
        except PageFault as fault:
            return Result(Status.BATCH_PAGE_FAULT, completed=done, fault=fault.address)
        if inner.flags & Flag.FENCE and failed:
            break
        with model.lock:
            if model.queues.epoch[work.queue.index] != work.epoch:
                break
        failed += executor.run(work, inner, index) not in (Status.SUCCESS, Status.FALSE_PREDICATE)
        done += 1
    if failed or done < count:
        return Result(Status.BATCH_FAILED, completed=done)
    return Result(completed=done)
