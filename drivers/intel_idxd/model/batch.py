# SPDX-License-Identifier: Apache-2.0
"""The modelled batch: fetch a list of descriptors and run it in order."""

from __future__ import annotations

from collections.abc import Callable

from ..hardware.descriptors import DESCRIPTOR_SIZE, Descriptor, Flag
from ..hardware.status import Status
from .memory import Memory, PageFault
from .result import Result
from .work import Work

__all__ = ["run_batch"]


def run_batch(
    memory: Memory, work: Work, descriptor: Descriptor, run: Callable[[Work, Descriptor, int], int]
) -> Result:
    """Run each descriptor of the list through ``run``, which returns its status.

    A fenced descriptor runs only if all before it succeeded; an abort stops the list.
    """
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
        if work.dropped:
            break
        failed += run(work, inner, index) not in (Status.SUCCESS, Status.FALSE_PREDICATE)
        done += 1
    if failed or done < count:
        return Result(Status.BATCH_FAILED, completed=done)
    return Result(completed=done)
