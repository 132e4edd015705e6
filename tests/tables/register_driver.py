# SPDX-License-Identifier: Apache-2.0
"""What the drivers of the tables here have in common: one register raises a slot, another says what became of it."""

from functools import cached_property
from typing import Any, ClassVar

from vfio_ims.driver import Driver, FireReport
from vfio_ims.errors import UnsupportedError
from vfio_ims.ims import FireStatus, ImsTable, SlotArray
from vfio_ims.registers import Block, SlotLayout


class RegisterDriver(Driver):
    """``block`` has ID, RESET, FIRE, FIRE_VECTOR and STATUS; ``slots`` is where the table is."""

    block: ClassVar[type[Block]]
    slots: ClassVar[SlotLayout]

    @cached_property
    def regs(self) -> Any:
        return self.device.bar(0).bind(self.block)

    def start(self) -> None:
        self.regs.ID.expect(self.block.registers["ID"].reset)
        self.regs.RESET.write(1)

    def ims_table(self) -> ImsTable:
        return SlotArray(self.device, self.slots)

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        if pasid is not None:
            why = "the device's work carries no PASID"
            raise UnsupportedError(f"fire slot {slot} for PASID {pasid}", device=self.label, why=why)
        with self.lock:
            self.turn_on(slot)
            self.regs.FIRE.write(slot)
            status = self.regs.STATUS.read()
        if status.refused:
            return FireReport(FireStatus.REFUSED, "no such slot, or disabled")
        return FireReport(FireStatus.PENDING if getattr(status, "pended", 0) else FireStatus.SENT)

    def turn_on(self, slot: int) -> None:
        """Turn the slot's source on, where it has one."""

    def fire_vector(self, vector: int) -> None:
        self.regs.FIRE_VECTOR.write(vector)

    def stop(self) -> None:
        self.regs.RESET.write(1)
