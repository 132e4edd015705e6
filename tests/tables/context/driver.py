# SPDX-License-Identifier: Apache-2.0
"""The driver: it enables the device with a table of quiet contexts, and changes them one by one."""

from functools import cached_property

from vfio_ims.driver import Driver, FireReport
from vfio_ims.errors import DeviceError, UnsupportedError
from vfio_ims.ims import FireStatus

from .registers import Bar0
from .table import ContextTable


class Context(Driver):
    """Raises any slot on request."""

    @cached_property
    def regs(self) -> Bar0:
        return self.device.bar(0).bind(Bar0)

    @cached_property
    def table(self) -> ContextTable:
        return ContextTable(self.device, self.regs)

    def start(self) -> None:
        self.regs.ID.expect(Bar0.ID.reset)
        self.stop()
        self.regs.BASE.write(self.table.memory.iova)
        self.regs.ENABLE.write(1)
        if not self.regs.STATUS.read().enabled:
            raise DeviceError("enable the device", device=self.label, why="it cannot read its context table")
        self.table.enabled = True

    def ims_table(self) -> ContextTable:
        return self.table

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        if pasid is not None:
            why = "the device's work carries no PASID"
            raise UnsupportedError(f"fire slot {slot} for PASID {pasid}", device=self.label, why=why)
        with self.lock:
            self.regs.FIRE.write(slot)
            status = self.regs.STATUS.read()
        if status.refused:
            return FireReport(FireStatus.REFUSED, "no such slot, or disabled")
        return FireReport(FireStatus.PENDING if status.pended else FireStatus.SENT)

    def fire_vector(self, vector: int) -> None:
        self.regs.FIRE_VECTOR.write(vector)

    def stop(self) -> None:
        self.table.enabled = False
        self.regs.RESET.write(1)
