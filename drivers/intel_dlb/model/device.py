# SPDX-License-Identifier: Apache-2.0
"""The function: config space, BARs, and what an access to a register sets off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import vfio_ims.pci.capabilities as pci
from vfio_ims.models import ModelBar, Msix, Option
from vfio_ims.pci.builder import ConfigBuilder
from vfio_ims.registers import SlotLayout

from ..hardware.places import (
    BAR0_SIZE,
    BAR2_SIZE,
    DIRECTED_SLOTS_20,
    LDB_SLOTS_20,
    MSIX_PBA_AT,
    MSIX_TABLE_AT,
    SLOTS,
    VECTORS,
    VERSION_20,
    VERSION_25,
    Version,
)
from ..hardware.registers import Bar2
from ..hardware.v20 import Bar2V20
from .behaviour import Behaviour, WordsKept
from .core import Core
from .ports import PortState
from .producers import Producers

__all__ = ["Dlb20Model", "DlbModel"]


class DlbModel(Behaviour):
    """8086:2714, DLB 2.5: 160 IMS slots, unmasked after reset; one pool of credits."""

    id = "8086:2714"
    class_code = 0x0B4000  # co-processor, as lspci lists DLB
    msix = Msix(vectors=VECTORS, bar=0, table=MSIX_TABLE_AT, pba=MSIX_PBA_AT)
    bars: dict[int, ModelBar] = {0: ModelBar(BAR0_SIZE), 2: ModelBar(BAR2_SIZE, Bar2, slots=SLOTS)}
    reset_masked = False
    words_are_stored = True
    version: ClassVar[Version] = VERSION_25
    block: ClassVar[type[Bar2]] = Bar2
    own_defects = ("reorders",)
    options: ClassVar[dict[str, Option]] = {
        "pasid": Option(False, "whether PASIDs are enabled in config space: a driver must disable them"),
    }

    def __init__(self, name: str = "", **given: str | int | bool) -> None:
        super().__init__(name, **given)
        self.words = WordsKept()
        self.core = Core(
            self.registers(2), self.block, self.version, lambda: self.bus, self.raise_vector, self._fire, self.lock,
            str(self.option["defect"]),
        )  # fmt: skip
        self.producers = Producers(self.core.ports, self.core.directed, self.core.store)

    def slot_layouts(self) -> Sequence[SlotLayout]:
        return [SLOTS]

    def capabilities(self, config: ConfigBuilder) -> None:
        """PASID is at 0x148, where DPDK looks for it to disable it."""
        assert self.msix is not None
        kind = pci.PortType.ROOT_COMPLEX_INTEGRATED_ENDPOINT
        config.add(pci.Express.new(kind, max_payload=512, flr=bool(self.option["flr"])), at=0x6C)
        config.add(self.msix.capability(), at=0x60)
        config.add(pci.PowerManagement.new(), at=0x80 + 0x30)
        config.add(pci.AdvancedErrorReporting.new(version=2), at=0x100)
        config.add(pci.Pasid.new(20), at=0x148)
        for number, dvsec in enumerate(self.siov_dvsecs()):
            config.add(dvsec, at=0x180 + 0x40 * number)

    def _fire(self, port: PortState) -> None:
        index = port.vector & 0xFF
        if index < SLOTS.count:
            self.slots_in(2).fire(index)

    # --- accesses -----------------------------------------------------------------------------------------------------

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region != 0 or not self.producers.covers(offset):
            super().write(region, offset, data)
        elif not self.config.asleep:
            whole = self.producers.store(offset, data)
            if whole is not None:
                self.after(self.core.store, *whole)

    def read_other(self, region: int, offset: int, size: int) -> bytes:
        return self.words.load(region, offset, size)

    def write_other(self, region: int, offset: int, data: bytes) -> None:
        self.words.store(region, offset, data)

    def reset(self) -> None:
        """Function-level reset: all but the power management's switch, which DPDK's authors found to be kept."""
        power = self.registers(2).get(self.block.PMCSR_DISABLE)
        super().reset()
        self.registers(2).set(self.block.PMCSR_DISABLE, power)
        self.words.clear()
        self.core.reset()
        self.producers.reset()

    def close(self) -> None:
        self.core.interrupts.reset()
        super().close()


class Dlb20Model(DlbModel):
    """8086:2710, DLB 2.0: no IMS table, but a message for each consumer queue; two pools of credits."""

    id = "8086:2710"
    bars: dict[int, ModelBar] = {
        0: ModelBar(BAR0_SIZE),
        2: ModelBar(BAR2_SIZE, Bar2V20, slots=(LDB_SLOTS_20, DIRECTED_SLOTS_20)),
    }
    version: ClassVar[Version] = VERSION_20
    block: ClassVar[type[Bar2]] = Bar2V20

    def slot_layouts(self) -> Sequence[SlotLayout]:
        return [LDB_SLOTS_20, DIRECTED_SLOTS_20]

    def _fire(self, port: PortState) -> None:
        self.tables[0 if port.ldb else 1].fire(port.number)
