# SPDX-License-Identifier: Apache-2.0
"""What a DSA or IAA says it can do: its capability registers, read once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError
from vfio_ims.registers import SlotLayout

from ..hardware.commands import Command
from ..hardware.registers import MAX_SGL_SHIFT, TABLE_UNIT, Bar0
from ..hardware.tables import SLOTS, SLOTS_PER_UNIT, queue_stride

if TYPE_CHECKING:
    from vfio_ims.registers import RegisterValue

__all__ = ["Capabilities", "find_slots"]

_WITH_LISTS = 0x300


@dataclass(frozen=True)
class Capabilities:
    """The registers' values, and what follows from them. Sizes in bytes, tables as offsets in BAR 0."""

    version: RegisterValue
    general: RegisterValue
    queue: RegisterValue
    group: RegisterValue
    engine: RegisterValue
    operations: int
    offsets: RegisterValue
    commands: int
    max_sgl_shift: int = 0
    """Entries of a scatter-gather list as a power of 2: a DSA from version 3 on; 0 where there are no such lists."""

    @classmethod
    def read(cls, regs: Bar0, kind: str) -> Capabilities:
        """Of a device of that kind, "dsa" or "iaa". DeviceError where nothing answers."""
        version = regs.VERSION.read()
        if version == 0xFFFF_FFFF:
            raise DeviceError("read VERSION", device=regs.label, why="all ones: no device answers")
        general = regs.GENCAP.read()
        lists = kind == "dsa" and version >= _WITH_LISTS  # CAP0 has another meaning on IAA
        return cls(
            version=version,
            general=general,
            queue=regs.WQCAP.read(),
            group=regs.GRPCAP.read(),
            engine=regs.ENGCAP.read(),
            operations=int(regs.OPCAP.read()),
            offsets=regs.OFFSETS.read(),
            commands=int(regs.CMDCAP.read()) if general.command_capabilities else 0,
            max_sgl_shift=MAX_SGL_SHIFT.get(regs.CAP0.read()) if lists else 0,
        )

    @property
    def max_transfer(self) -> int:
        return 1 << self.general.max_transfer_shift

    @property
    def max_batch(self) -> int:
        return 1 << self.general.max_batch_shift

    @property
    def slots(self) -> int:
        """Entries of the IMS table; 0 where there is none."""
        return self.general.ims_multiplier * SLOTS_PER_UNIT

    @property
    def wants_handles(self) -> bool:
        """Whether interrupt handles are requested by command. Else a handle is the table's index (SPR: inferred)."""
        return bool(self.commands >> Command.REQUEST_HANDLE & 1)

    @property
    def queue_stride(self) -> int:
        return queue_stride(self.queue.config_size)

    def table(self, name: str) -> int:
        """Where table ``name`` (a field of OFFSETS) is in BAR 0."""
        return int(getattr(self.offsets, name)) * TABLE_UNIT

    def supports(self, opcode: int) -> bool:
        return bool(self.operations >> opcode & 1)

    @property
    def slot_layout(self) -> SlotLayout | None:
        """Where the IMS slots are; None where the device has none."""
        return _layout(self.table("ims"), self.slots)


def _layout(offset: int, count: int) -> SlotLayout | None:
    return replace(SLOTS, offset=offset, count=count) if offset and count else None


def find_slots(regs: Bar0) -> SlotLayout | None:
    """The IMS table, from the two registers that place it; None where the device has none."""
    count = regs.GENCAP.read().ims_multiplier * SLOTS_PER_UNIT
    return _layout(regs.OFFSETS.read().ims * TABLE_UNIT, count)
