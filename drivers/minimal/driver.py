# SPDX-License-Identifier: Apache-2.0
"""The driver of the example device."""

from functools import cached_property

from vfio_ims.driver import Driver, FireReport
from vfio_ims.errors import RemovedError, UnsupportedError
from vfio_ims.ims import FireStatus, SlotArray

from .registers import SLOTS, Bar0


class Minimal(Driver):
    """Raises any slot, and any MSI-X vector, on request."""

    reserved_vectors = ()  # every MSI-X vector may be a donor

    @cached_property
    def regs(self) -> Bar0:
        return self.device.bar(0).bind(Bar0)

    def start(self) -> None:
        self.regs.ID.expect(Bar0.ID.reset)
        self.regs.RESET.write(1)
        self.regs.STATUS.read()  # the write is posted: slots that are mapped could be written before it, and wiped

    def ims_table(self) -> SlotArray:
        return SlotArray(self.device, SLOTS)

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        if pasid is not None:
            why = "the device's work carries no PASID"
            raise UnsupportedError(f"fire slot {slot} for PASID {pasid}", device=self.label, why=why)
        with self.lock:  # STATUS is the last FIRE's
            self.regs.FIRE.write(slot)
            status = self.regs.STATUS.read()  # flushes: the message has left, or is pending
        if status == 0xFFFF_FFFF:
            why = "STATUS reads as all ones: no device answers"
            raise RemovedError(f"fire slot {slot}", device=self.label, why=why)
        if status.bad_slot:
            return FireReport(FireStatus.REFUSED, "no such slot", int(status))
        return FireReport(FireStatus.PENDING if status.pended else FireStatus.SENT)

    def fire_vector(self, vector: int) -> None:
        self.regs.FIRE_VECTOR.write(vector)

    def stop(self) -> None:
        self.regs.RESET.write(1)
