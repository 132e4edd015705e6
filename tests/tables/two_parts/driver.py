# SPDX-License-Identifier: Apache-2.0
"""The driver: the source of a slot is on only from its first fire until it is quiesced."""

from functools import cached_property

from vfio_ims.driver import Driver, FireReport
from vfio_ims.errors import UnsupportedError
from vfio_ims.ims import FireStatus, JoinedTable, SlotArray

from .registers import CHANNELS, QUEUES, Bar0


class TwoParts(Driver):
    """Turns a slot's source on, and fires it."""

    @cached_property
    def regs(self) -> Bar0:
        return self.device.bar(0).bind(Bar0)

    def start(self) -> None:
        self.regs.ID.expect(Bar0.ID.reset)
        self.regs.RESET.write(1)

    def ims_table(self) -> JoinedTable:
        return JoinedTable([SlotArray(self.device, layout) for layout in (CHANNELS, QUEUES)])

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        if pasid is not None:
            why = "the device's work carries no PASID"
            raise UnsupportedError(f"fire slot {slot} for PASID {pasid}", device=self.label, why=why)
        with self.lock:
            self.regs.SOURCE_ON.write(slot)
            self.regs.FIRE.write(slot)
            status = self.regs.STATUS.read()
        return FireReport(FireStatus.REFUSED, "no such slot") if status.refused else FireReport(FireStatus.SENT)

    def fire_vector(self, vector: int) -> None:
        self.regs.FIRE_VECTOR.write(vector)

    def quiesce(self, slot: int) -> None:
        self.regs.SOURCE_OFF.write(slot)

    def stop(self) -> None:
        self.regs.RESET.write(1)
