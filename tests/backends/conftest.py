# SPDX-License-Identifier: Apache-2.0
"""A device model of a few registers, independent of the model kit, and software devices over it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.backends.software import PAGE
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.backends.software.space import SoftwareAddressSpace
from vfio_ims.native.memory import SharedMemory
from vfio_ims.pci import ConfigBuilder, ConfigImage
from vfio_ims.pci.capabilities import Express, ExtendedCapability, Msi, Msix
from vfio_ims.platform import Platform
from vfio_ims.ports.model import Bus, SharedArea
from vfio_ims.ports.values import Area, DeviceFlags, DeviceInfo, IrqFlags, IrqIndex, IrqInfo, RegionFlags, RegionInfo

_RW = RegionFlags.READ | RegionFlags.WRITE


class LittleModel:
    """BAR 0: 0x00 id, 0x04 raises an MSI-X vector, 0x08 sends slot n (entries of 16 bytes at 0x1000), 0x0C raises

    another index's vector 0, 0x10 copies 8 bytes to the IOVA at 0x18, 0x40.. memory. MSI-X table 0x2000, PBA 0x3000.
    BAR 2 is a portal that keeps what it was given.
    """

    def __init__(self, *, flr: bool = True, shared: bool = False, vectors: int = 8, hidden_first: bool = False) -> None:
        self.name, self.lock, self.flr, self.vectors = "little", threading.RLock(), flr, vectors
        self.bus: Bus | None = None
        self.memory, self.portal = bytearray(0x4000), [b""]
        self.accesses: list[tuple[str, int, int, int]] = []
        self.resets = self.closes = 0
        self._todo: list[Callable[[], None]] = []
        self.image = self._config(hidden_first)
        self.config = bytearray(self.image.data)
        self.fd = -1
        if shared:
            self.fd = os.memfd_create("slots")
            os.ftruncate(self.fd, 0x4000)

    def _config(self, hidden_first: bool) -> ConfigImage:
        builder = ConfigBuilder(0x1234, 0x1A55, interrupt_pin="A")
        builder.bar(0, 0x4000, "mem64", prefetchable=True).bar(2, 0x1000, "mem64")
        builder.add(Msix.new(self.vectors, (0, 0x2000), (0, 0x3000))).add(Msi.new(4)).add(Express.new(flr=self.flr))
        pasid = bytearray(8)
        pasid[:4], pasid[5] = (0x1B | 1 << 16).to_bytes(4, "little"), 20
        serial = (0x03 | 1 << 16).to_bytes(4, "little") + bytes(8)
        first, second = (bytes(pasid), serial) if hidden_first else (serial, bytes(pasid))
        builder.add(ExtendedCapability(first), 0x100).add(ExtendedCapability(second), 0x140)
        tail = (0x23 | 1 << 16).to_bytes(4, "little") + (0x1234 | 0x10 << 20).to_bytes(4, "little") + bytes(8)
        return builder.add(ExtendedCapability(tail), 0x180).build()

    def device_info(self) -> DeviceInfo:
        return DeviceInfo(DeviceFlags.PCI | (DeviceFlags.RESET if self.flr else DeviceFlags(0)), 9, 5)

    def region_info(self, index: int) -> RegionInfo:
        sizes = {0: 0x4000, 2: 0x1000, 7: 4096}
        areas = (Area(0x1000, 0x1000),) if index == 0 and self.fd >= 0 else ()
        return RegionInfo(index, _RW if index in sizes else RegionFlags(0), sizes.get(index, 0), areas=areas)

    def irq_info(self, index: int) -> IrqInfo:
        return IrqInfo(index, IrqFlags.EVENTFD, {0: 1, 1: 4, 2: self.vectors, 3: 1, 4: 1}[index])

    def shared_areas(self) -> Sequence[SharedArea]:
        return [SharedArea(0, 0x1000, 0x1000, self.fd)] if self.fd >= 0 else []

    def attach(self, bus: Bus) -> None:
        self.bus = bus

    def read(self, region: int, offset: int, size: int) -> bytes:
        if region == 7:
            return bytes(self.config[offset : offset + size])
        self.accesses.append(("r", region, offset, size))
        return bytes(self.memory[offset : offset + size]) if region == 0 else b"\0" * size

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region == 7:
            self.image.write(self.config, offset, data)
            return
        self.accesses.append(("w", region, offset, len(data)))
        if region == 2:
            self.portal.append(data)
            return
        self.memory[offset : offset + len(data)] = data
        value = int.from_bytes(data, "little")
        bus = self.bus
        assert bus is not None
        match offset:
            case 0x04:
                self._todo.append(lambda: bus.interrupt(IrqIndex.MSIX, value))
            case 0x08:
                entry = self.memory[0x1000 + 16 * value : 0x1010 + 16 * value]
                address, word = int.from_bytes(entry[:8], "little"), bytes(entry[8:12])
                self._todo.append(lambda: bus.write(address, word))
            case 0x0C:
                self._todo.append(lambda: bus.interrupt(value, 0))
            case 0x10:
                target = int.from_bytes(self.memory[0x18:0x20], "little")
                self._todo.append(lambda: bus.write(target, bytes(self.memory[0x40:0x48])))

    def act(self) -> None:
        while self._todo:
            self._todo.pop(0)()

    def reset(self) -> None:
        self.resets += 1
        self.memory[:] = bytes(len(self.memory))
        self.memory[0:4] = b"SMIT"
        self.config[:] = self.image.data

    def close(self) -> None:
        self.closes += 1
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@pytest.fixture
def little() -> type[LittleModel]:
    """The class of the little model."""
    return LittleModel


@pytest.fixture
def platform() -> Platform:
    return Platform()


Opener = Callable[..., SoftwareDevice]


@pytest.fixture
def open_little() -> Iterator[Opener]:
    """Opens little models as software devices; closes them at the end."""
    devices: list[SoftwareDevice] = []

    def open_one(
        platform: Platform,
        name: str = "little",
        *,
        space: SoftwareAddressSpace | None = None,
        model: LittleModel | None = None,
        keep: bool = False,
        **options: bool,
    ) -> SoftwareDevice:
        device = SoftwareDevice(InProcessLink(model or LittleModel(**options), keep=keep), platform, name, space)
        devices.append(device)
        return device

    yield open_one
    for device in reversed(devices):
        device.close()


@pytest.fixture
def eventfd():
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


@pytest.fixture
def memory():
    with SharedMemory(8 * PAGE) as shared:
        yield shared
