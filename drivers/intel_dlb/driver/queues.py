# SPDX-License-Identifier: Apache-2.0
"""Queues: load-balanced ones, whose elements are scheduled to ports by kind, and directed ones, which feed one port."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError

from ..hardware.elements import Kind, second_word

if TYPE_CHECKING:
    from ..hardware.queues import LdbQueue
    from ..hardware.registers import Bar2
    from .resources import Resources

__all__ = ["Queue", "configure_directed_queue", "configure_queue", "reset_queue", "take_sequences"]

_IN_FLIGHT = 2048  # of a queue without an order: the history list has no more entries
_FLOWS = 512  # under way at once, as Intel's drivers set it


@dataclass(frozen=True, slots=True)
class Queue:
    """``number``: the device's. ``kind``: how its elements are scheduled. ``window``: an ordered one's numbers."""

    number: int
    kind: Kind
    window: int = 0
    sequences: tuple[int, int, int] | None = None
    """Of an ordered one: group, slot and mode."""
    storage: int = 0
    directed: bool = field(init=False, repr=False, compare=False)
    """Whether it belongs to one directed port; its elements then pass no scheduler."""
    word: int = field(init=False, repr=False, compare=False)
    """What an element that is enqueued to it has of it."""

    def __post_init__(self) -> None:
        if not 0 <= self.number < 1 << 8:
            raise UsageError("name a queue", why=f"its number must have 8 bits, not {self.number!r}")
        object.__setattr__(self, "directed", self.kind is Kind.DIRECTED)
        object.__setattr__(self, "word", second_word(0, self.number, self.kind))

    def __str__(self) -> str:
        return f"{self.kind.name.lower()} queue {self.number}"


def take_sequences(resources: Resources, numbers: int) -> tuple[int, int, int] | None:
    """Group, slot and mode for an ordered queue; None where both groups are full or cut otherwise."""
    for group, one in enumerate(resources.sequences):
        slot = one.take(numbers)
        if slot is not None:
            return group, slot, one.mode
    return None


def configure_queue(regs: Bar2, queue: Queue) -> LdbQueue:
    """Everything but the domain's right to enqueue (DPDK: dlb2_configure_ldb_queue)."""
    row = regs.LDB_QUEUE[queue.number]
    row.QID_LDB_INFL_LIM.write(limit=queue.window or _IN_FLIGHT)
    row.QID_AQED_ACTIVE_LIM.write(limit=queue.storage)
    row.QID_HID_WIDTH.write(code=0)
    row.QID_ITS.write(0)
    row.QID_ATM_DEPTH_THRSH.write(0)
    row.QID_NALDB_DEPTH_THRSH.write(0)
    row.QID_FID_LIM.write(limit=_FLOWS)
    if queue.sequences is not None:
        group, slot, mode = queue.sequences
        regs.GRP_SN_MODE.update(**{f"group{group}": mode})
        row.ORD_QID_SN_MAP.write(mode=mode, slot=slot, group=group)
    row.QID_CFG_V.write(ordered=queue.kind is Kind.ORDERED, atomic=queue.kind is Kind.ATOMIC)
    row.QID_V.write(valid=1)
    return row


def configure_directed_queue(regs: Bar2, number: int) -> None:
    """Everything but the domain's right to enqueue (DPDK: dlb2_configure_dir_queue)."""
    row = regs.DIR_QUEUE[number]
    row.QID_ITS.write(0)
    row.QID_DEPTH_THRSH.write(0)
    row.QID_V.write(valid=1)


def reset_queue(regs: Bar2, queue: Queue) -> None:
    """Every register of the queue to its value after reset."""
    if queue.directed:
        directed = regs.DIR_QUEUE[queue.number]
        for register in (directed.QID_V, directed.QID_DEPTH_THRSH, directed.QID_ITS):
            register.write(register.register.reset)
        return
    row = regs.LDB_QUEUE[queue.number]
    row.QID_V.write(0)
    for register in (
        row.QID_CFG_V, row.QID_LDB_INFL_LIM, row.QID_AQED_ACTIVE_LIM, row.QID_HID_WIDTH, row.QID_FID_LIM, row.QID_ITS,
        row.QID_ATM_DEPTH_THRSH, row.QID_NALDB_DEPTH_THRSH, row.ORD_QID_SN, row.ORD_QID_SN_MAP,
    ):  # fmt: skip
        register.write(register.register.reset)
    for four in row.MAPS:
        for register in (four.ATM, four.LSP, four.LSP2):
            register.write(0)
