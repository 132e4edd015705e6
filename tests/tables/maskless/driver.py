# SPDX-License-Identifier: Apache-2.0
"""The driver: a slot's source cannot be turned off, so a quiet slot is one whose message goes to memory."""

from functools import cached_property

from vfio_ims.driver import Driver, FireReport
from vfio_ims.errors import UnsupportedError
from vfio_ims.ims import FireStatus, SlotArray

from .registers import SLOTS, Bar0


class Maskless(Driver):
    """Raises any slot on request."""

    @cached_property
    def regs(self) -> Bar0:
        return self.device.bar(0).bind(Bar0)

    def start(self) -> None:
        self.regs.ID.expect(Bar0.ID.reset)
        self.regs.RESET.write(1)

    def ims_table(self) -> SlotArray:
        return SlotArray(self.device, SLOTS)

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        if pasid is not None:
            why = "the device's work carries no PASID"
            raise UnsupportedError(f"fire slot {slot} for PASID {pasid}", device=self.label, why=why)
        with self.lock:
            self.regs.FIRE.write(slot)
            status = self.regs.STATUS.read()
        return FireReport(FireStatus.REFUSED, "no such slot") if status.refused else FireReport(FireStatus.SENT)

    def fire_vector(self, vector: int) -> None:
        self.regs.FIRE_VECTOR.write(vector)

    def stop(self) -> None:
        self.regs.RESET.write(1)
