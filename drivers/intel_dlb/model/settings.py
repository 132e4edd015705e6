# SPDX-License-Identifier: Apache-2.0
"""What the registers say of queues and domains: who may enqueue where, which port takes from which queue, how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hardware.places import LDB_QUEUES, Version
from ..hardware.registers import STRIDE, Bar2, SysAlarm
from .ordering import Window

if TYPE_CHECKING:
    from vfio_ims.models.register_file import RegisterFile
    from vfio_ims.registers import Register

    from .items import Item
    from .ports import PortState
    from .queues import LdbQueueState

__all__ = ["Settings"]

_FLOW_BITS = 5  # and the compression code: how many bits tell flows apart
_TICK = 1e-6
"""Seconds of the timer's unit: what silicon has is not public."""
_MAPS = 0x8_0000
"""From the bitmap of four ports to that of the next four."""


class Settings:
    """``block``: BAR 2's, of the version."""

    def __init__(self, registers: RegisterFile, block: type[Bar2], version: Version) -> None:
        self._registers, self._block, self._version = registers, block, version
        self._known: dict[tuple[int, int, int], tuple[bool, bool]] = {}

    def forget_maps(self) -> None:
        """A bitmap was written."""
        self._known.clear()

    def _number(self, register: Register, row: int = 0, extra: int = 0) -> int:
        at = register.offset + row * STRIDE + extra
        return int.from_bytes(self._registers.load(at, 4), "little")

    def decode_queue(self, queue: LdbQueueState) -> None:
        """Tell ``queue`` its limits."""
        block, number = self._block.LDB_QUEUE.block.registers, queue.number
        queue.limit = self._number(block["QID_LDB_INFL_LIM"], number)
        queue.storage = self._number(block["QID_AQED_ACTIVE_LIM"], number)
        code = self._number(block["QID_HID_WIDTH"], number) & 7
        queue.flow_mask = (1 << _FLOW_BITS + code) - 1 if code else 0xFFFF
        if queue.idle:
            queue.window = Window(64 << (self._number(block["ORD_QID_SN_MAP"], number) & 7))

    def period(self, port: PortState) -> float:
        """How long the timer lets elements wait: samples times the time between them. 0: it is off."""
        control = self._registers.get(self._block.registers["LDB_TIMER_CTL" if port.ldb else "DIR_TIMER_CTL"])
        return (port.timer + 1) * (control.interval + 1) * _TICK if control.on else 0.0

    def serves(self, queue: int, port: int, slot: int) -> tuple[bool, bool]:
        """Of which kinds the bitmaps let ``slot`` of ``port`` take from ``queue``: others, atomic."""
        key = queue, port, slot
        known = self._known.get(key)
        if known is None:
            maps = self._block.LDB_QUEUE.block.repeats["MAPS"].block.registers
            bit = 1 << 8 * (port % 4) + slot
            lsp, lsp2, atm = (
                self._number(maps[name], queue, port // 4 * _MAPS) & bit for name in ("LSP", "LSP2", "ATM")
            )
            known = self._known[key] = bool(lsp and lsp2), bool(lsp and lsp2 and atm)
        return known

    def refusal(self, item: Item) -> SysAlarm | None:
        """Why ``item`` may not enter its queue. That a queue of another kind counts as illegal is inferred."""
        count = self._version.directed if item.directed else LDB_QUEUES
        if item.queue >= count:
            return SysAlarm.ILLEGAL_QUEUE
        repeat = self._block.DIR_QUEUE if item.directed else self._block.LDB_QUEUE
        if not self._number(repeat.block.registers["QID_V"], item.queue) & 1:
            return SysAlarm.ILLEGAL_QUEUE
        valid = self._block.DIR_VALID if item.directed else self._block.LDB_VALID
        if not self._number(valid.block.registers["VASQID_V"], item.domain * count + item.queue) & 1:
            return SysAlarm.DISABLED_QUEUE
        if not item.directed and item.kind != 1:
            how = self._number(repeat.block.registers["QID_CFG_V"], item.queue)
            if not how & (2 if item.kind == 0 else 1):
                return SysAlarm.ILLEGAL_QUEUE
        return None
