# SPDX-License-Identifier: Apache-2.0
"""A device model with the interrupts that MSI-X displaced: an INTx line, MSI; and with errors that AER reports."""

from __future__ import annotations

from vfio_ims.models import DeviceModel, ModelBar, on_write
from vfio_ims.pci.builder import ConfigBuilder
from vfio_ims.pci.capabilities import AdvancedErrorReporting, PowerManagement, Uncorrectable
from vfio_ims.registers import Block, Register

__all__ = ["HEADER", "MSI_VECTORS", "Bar0", "LegacyModel"]

MSI_VECTORS = 4
HEADER = bytes.fromhex("20000040 0100000f 00000001 fee00000")
"""The packet that the model blames: a memory read by a 64-bit address."""


class Bar0(Block):
    """BAR 0."""

    ID = Register(0x00, access="ro", reset=0x4C45_4741)
    LINE = Register(0x04, access="wo", doc="1 asserts the INTx line, 0 releases it")
    RAISE = Register(0x08, access="wo", doc="an MSI vector's number: raise it once")
    FAIL = Register(0x0C, access="wo", doc="uncorrectable error bits of AER: they happen")
    KEEP = Register(0x10, access="rw", doc="keeps what is written until a reset")


class LegacyModel(DeviceModel):
    """INTx on pin A, 4 MSI vectors, AER, and a power management capability without No_Soft_Reset."""

    id = "1234:1a57"
    bars = {0: ModelBar(0x1000, Bar0)}
    msi = MSI_VECTORS
    interrupt_pin = "A"

    def capabilities(self, config: ConfigBuilder) -> None:
        super().capabilities(config)
        config.add(PowerManagement.new(no_soft_reset=False))
        config.add(AdvancedErrorReporting.new())

    @on_write(Bar0.LINE)
    def line(self, value: int) -> None:
        self.set_intx(bool(value & 1))

    @on_write(Bar0.RAISE)
    def message(self, vector: int) -> None:
        self.raise_msi(vector)

    @on_write(Bar0.FAIL)
    def fail(self, errors: int) -> None:
        self.report_error(Uncorrectable(errors), HEADER)
