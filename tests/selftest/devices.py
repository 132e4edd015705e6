# SPDX-License-Identifier: Apache-2.0
"""Devices of this room's tests: tables of any size, with PASIDs, with one donor or many; opened on a platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.device import Device
from vfio_ims.driver import Driver, FireReport
from vfio_ims.ims import FireStatus, SlotArray
from vfio_ims.models import DeviceModel, ModelBar, Msix, on_write
from vfio_ims.platform import Platform
from vfio_ims.registers import Block, Register, SlotLayout, bit, bits


class Registers(Block):
    """Raises slots for work with or without a PASID."""

    ID = Register(0x00, access="ro", reset=0x7E57_0001)
    RESET = Register(0x04, access="wo")
    FIRE = Register(0x08, access="wo")
    VECTOR = Register(0x0C, access="wo")
    STATUS = Register(0x10, access="ro", pended=bit(0), refused=bit(1))
    PASID = Register(0x14, number=bits(19, 0), enable=bit(31))


class TestedModel(DeviceModel):
    """``layout`` and ``msix`` are given by ``make_model``."""

    __test__ = False
    id = "1234:7e57"
    layout: SlotLayout

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        """What a test's broken device does otherwise."""
        return self.slots.fire(slot, pasid)

    @on_write(Registers.FIRE)
    def fire(self, slot: int) -> None:
        tag = self.registers().get(Registers.PASID)
        outcome = self.raise_slot(slot, tag.number if tag.enable else None)
        refused, pended = outcome is FireStatus.REFUSED, outcome is FireStatus.PENDING
        self.registers().set(Registers.STATUS, refused=refused, pended=pended)

    @on_write(Registers.VECTOR)
    def vector(self, vector: int) -> None:
        self.raise_vector(vector)

    @on_write(Registers.RESET)
    def restart(self, _: int) -> None:
        self.reset()


def make_model(slots: int, vectors: int, *, base: type[TestedModel] = TestedModel, **layout: Any) -> type[TestedModel]:
    """A model with so many slots and MSI-X vectors; ``layout`` changes the entry."""
    table = SlotLayout(bar=0, offset=0x10000, count=slots, **layout)
    own_msix = Msix(vectors=vectors, bar=0, table=0x2000, pba=0x3000)
    bars = {0: ModelBar(0x20000, Registers, slots=table)}
    return type("Made", (base,), {"layout": table, "msix": own_msix, "bars": bars})


PASIDS = {"ignore": 2, "pasid_enable": 3}


class TestedDriver(Driver):
    """The table's layout is the model's, as a test knows it."""

    __test__ = False
    layout: SlotLayout

    def start(self) -> None:
        self.regs = self.device.bar(0).bind(Registers)
        self.regs.RESET.write(1)

    def ims_table(self) -> SlotArray:
        return SlotArray(self.device, self.layout)

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        self.regs.PASID.write(0 if pasid is None else 1 << 31 | pasid)
        self.regs.FIRE.write(slot)
        status = self.regs.STATUS.read()
        if status.refused:
            return FireReport(FireStatus.REFUSED, "wrong PASID", int(status))
        return FireReport(FireStatus.PENDING if status.pended else FireStatus.SENT)

    def fire_vector(self, vector: int) -> None:
        self.regs.VECTOR.write(vector)

    def stop(self) -> None:
        self.device.bar(0).bind(Registers).RESET.write(1)


@dataclass
class Opened:
    """A running driver with what is behind it."""

    driver: Driver
    model: DeviceModel
    platform: Platform = field(repr=False)


def open_model(
    kind: type[TestedModel],
    driver: type[TestedDriver] = TestedDriver,
    *,
    platform: Platform | None = None,
    **options: Any,
) -> Opened:
    """``kind`` in process, with its driver started."""
    platform = platform or Platform()
    model = kind("test", **options)
    device = Device(SoftwareDevice(InProcessLink(model), platform, "test"))
    own: Callable[[Device], Driver] = type("Own", (driver,), {"layout": kind.layout}).start_on
    opened = Opened(own(device), model, platform)
    OPENED.append(opened)
    return opened


OPENED: list[Opened] = []
"""For the fixture that closes what a test left open."""
