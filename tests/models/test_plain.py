# SPDX-License-Identifier: Apache-2.0
"""Accesses that set nothing off take a short way; what a driver sees of them is what every other access shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.device import Device
from vfio_ims.errors import ClosedError, UsageError, VfioImsError
from vfio_ims.messages import Message, Slot
from vfio_ims.models import DeviceModel, ModelBar, Msix, on_read, on_write
from vfio_ims.platform import Platform
from vfio_ims.registers import Block, Register, RegisterValue, SlotLayout, bit, bits

SLOTS = SlotLayout(bar=0, offset=0x1000, count=8, stride=16, low=0, high=4, data=8, control=12, mask=0, pending=1)


class Regs(Block):
    NAME = Register(0x00, 32, "ro", reset=0x600D)
    FLAGS = Register(0x04, 32, "rw", reset=0x8, ready=bit(3, "ro"), fault=bit(7, "rw1c"), mode=bits(31, 16))
    WIDE = Register(0x08, 64, "rw")
    SECRET = Register(0x10, 32, "rw", key=bits(15, 0, "wo"))
    COUNT = Register(0x14, 32, "ro")
    BELL = Register(0x18, 32, "rw")
    LONG = Register(0x20, 256, "rw", valid=bit(0, "rw1c"))


class Model(DeviceModel):
    id = "1234:5678"
    bars = {0: ModelBar(0x4000, Regs, slots=SLOTS)}
    msix = Msix(vectors=4, bar=0, table=0x2000, pba=0x3000)
    rung: list[int]

    @on_read(Regs.COUNT)
    def count(self) -> None:
        self.registers().set(Regs.COUNT, self.registers().get(Regs.COUNT) + 1)

    @on_write(Regs.BELL)
    def ring(self, value: RegisterValue) -> None:
        self.rung.append(int(value))
        self.registers().set(Regs.FLAGS, self.registers().get(Regs.FLAGS) | 1 << 7)


@pytest.fixture
def model() -> Model:
    made = Model("plain")
    made.rung = []
    return made


@pytest.fixture
def device(model: Model) -> Iterator[Device]:
    with Device(SoftwareDevice(InProcessLink(model), Platform(), "mock:plain")) as device:
        device.config.memory = True
        yield device


def test_registers_honour_their_access(device: Device) -> None:
    bar = device.bar(0)
    assert bar.read32(0x00) == 0x600D
    bar.write32(0x00, 0xFFFF_FFFF)
    assert bar.read32(0x00) == 0x600D
    bar.write32(0x04, 0x1234_0000)
    assert bar.read32(0x04) == 0x1234_0008
    bar.write32(0x10, 0xABCD_EF01)
    assert bar.read32(0x10) == 0xABCD_0000
    bar.write64(0x08, 1 << 63 | 5)
    assert (bar.read64(0x08), bar.read32(0x08), bar.read32(0x0C)) == (1 << 63 | 5, 5, 1 << 31)
    bar.write32(0x0C, 7)
    assert bar.read64(0x08) == 7 << 32 | 5


def test_hooks_run_at_every_access_of_theirs(device: Device, model: Model) -> None:
    bar = device.bar(0)
    assert [bar.read32(0x14) for _ in range(3)] == [1, 2, 3]
    for value in (5, 6):
        bar.write32(0x18, value)
    assert model.rung == [5, 6]
    assert bar.read32(0x04) == 0x88  # what the hook did shows at once
    bar.write32(0x04, 1 << 7)
    assert bar.read32(0x04) == 0x8


def test_a_wide_register_is_written_and_cleared_in_pieces(device: Device, model: Model) -> None:
    bar = device.bar(0)
    model.registers().set(Regs.LONG, 1 << 200 | 1)
    assert bar.read_block(0x20, 4, 8) == (1 << 200 | 1).to_bytes(32, "little")
    bar.write64(0x20, 1)
    assert model.registers().get(Regs.LONG) == 1 << 200


def test_slots_keep_what_their_layout_declares(device: Device, model: Model) -> None:
    bar = device.bar(0)
    bar.write32(0x1000 + 12, 0xFFFF_FFFF)  # of a control word, its mask
    assert bar.read32(0x1000 + 12) == 1
    model.slots.fire(0)
    assert bar.read32(0x1000 + 12) == 3  # pending is the device's
    bar.write32(0x1000 + 8, 9)
    assert model.slots.slot(0) == Slot(Message(0, 9), masked=True)


def test_an_unmask_still_sends_what_is_pending(device: Device, model: Model) -> None:
    bar, sent = device.bar(0), []
    model.slots._send = lambda address, data: sent.append((address, data))
    bar.write32(0x1000, 0xFEE0_0000)
    model.slots.fire(0)
    bar.write32(0x1000 + 12, 0)
    assert sent == [(0xFEE0_0000, 0)]
    assert bar.read32(0x1000 + 12) == 0


@pytest.mark.parametrize("offset", [-4, 2, 0x4000, 0x3FFE])
def test_what_is_no_access_is_refused_as_ever(device: Device, offset: int) -> None:
    with pytest.raises(UsageError):
        device.bar(0).read32(offset)
    with pytest.raises(UsageError):
        device.bar(0).write32(offset, 0)


def test_a_value_that_does_not_fit_is_refused(device: Device) -> None:
    for offset in (0x04, 0x1000):
        with pytest.raises(UsageError, match="value must be 32 bits"):
            device.bar(0).write32(offset, 1 << 32)


def test_the_msix_table_is_not_the_models(device: Device, model: Model) -> None:
    with pytest.raises(UsageError, match="MSI-X table"):
        device.bar(0).write32(0x2000, 1)
    assert device.bar(0).read32(0x2000 + 12) == 1  # as the platform keeps it: masked


def test_nothing_answers_while_memory_is_not_decoded_or_the_device_is_closed(device: Device) -> None:
    bar = device.bar(0)
    read, write = bar.read32, bar.write32
    device.config.memory = False
    for access in (lambda: read(0), lambda: write(4, 0), lambda: read(0x1000), lambda: write(0x1000, 0)):
        with pytest.raises(VfioImsError, match="does not decode memory"):
            access()
    device.config.memory = True
    assert read(0) == 0x600D
    device.close()
    for access in (lambda: read(0), lambda: write(4, 0)):
        with pytest.raises(ClosedError):
            access()


def test_a_model_that_looks_at_its_own_accesses_sees_them_all() -> None:
    class Watching(Model):
        def read(self, region: int, offset: int, size: int) -> bytes:
            if region == 0:
                seen.append(("read", region, offset))
            return super().read(region, offset, size)

        def write(self, region: int, offset: int, data: bytes) -> None:
            if region == 0:
                seen.append(("write", region, offset))
            super().write(region, offset, data)

    seen: list[tuple[str, int, int]] = []
    watching = Watching("watching")
    with Device(SoftwareDevice(InProcessLink(watching), Platform(), "mock:watching")) as device:
        device.config.memory = True
        seen.clear()
        bar = device.bar(0)
        bar.read32(0), bar.write32(4, 0), bar.read32(0x1000), bar.write32(0x1000, 4)
    assert seen[:4] == [("read", 0, 0), ("write", 0, 4), ("read", 0, 0x1000), ("write", 0, 0x1000)]
