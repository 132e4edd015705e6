# SPDX-License-Identifier: Apache-2.0
"""The driver: it enables the device with a table of quiet contexts, and changes them one by one."""

from functools import cached_property

from tests.tables.register_driver import RegisterDriver
from vfio_ims.errors import DeviceError

from .registers import Bar0
from .table import ContextTable


class Context(RegisterDriver):
    """Raises any slot on request."""

    block = Bar0

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

    def stop(self) -> None:
        self.table.enabled = False
        super().stop()
