# SPDX-License-Identifier: Apache-2.0
"""The function with the engine: config space, BARs, and what a write to a register sets off."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import ClassVar

from vfio_ims.errors import BusFault
from vfio_ims.models import ModelBar, Msix, Option
from vfio_ims.pci.builder import ConfigBuilder
from vfio_ims.pci.capabilities.vendor import ExtendedVendorSpecific
from vfio_ims.registers import Block

from ..hardware.hdma import HDMA_FILE_SIZE, Hdma
from ..hardware.metadata import Header, encode_metadata
from ..hardware.places import ChannelPlace, EnginePlace, Vsec, known_place
from ..hardware.registers import Common, Compatible, Legacy, Map, Unroll
from .behaviour import V0Behaviour, hdma_written
from .channel import ChannelModel
from .channel_registers import Knobs
from .hdma import HdmaRegisters
from .memory import EngineMemory
from .options import MAPS, OPTIONS
from .v0 import READ, WRITE, V0Registers

__all__ = ["EdmaModel", "HdmaModel"]

_METADATA_BAR, _METADATA_END = 4, 0x2000
_VIEWPORT = range(Legacy.SELECTED.offset, Legacy.SELECTED.offset + 0x24)


class _Viewed(Unroll):
    """The legacy map as the model keeps it: every channel has its place, of which the driver sees one at a time."""

    VIEWPORT = Legacy.VIEWPORT


_BLOCKS: dict[Map, type[Block]] = {
    Map.LEGACY: _Viewed,
    Map.UNROLL: Unroll,
    Map.HDMA_COMPATIBLE: Compatible,
    Map.HDMA: Hdma,
}


class EdmaModel(V0Behaviour):
    """Synopsys' demo endpoint: 2 write and 2 read channels, their lists and data windows in BAR 2."""

    id = "16c3:edda"
    class_code = 0x088000
    options: ClassVar[dict[str, Option]] = OPTIONS
    own_defects = ("loses-done", "late-status", "ignores-cycle")
    memory_size = 16 << 20
    most_channels = 2
    """For how many channels the table of ids has places in BAR 2; more with metadata."""

    def configure(self) -> None:
        option = self.option
        self.map = MAPS[str(option["map"])]
        self.count = int(option["channels"])
        kinds = str(option["interrupts"])
        self.msix = Msix(int(option["vectors"]), bar=4, table=0x2000, pba=0x3000) if kinds != "msi" else None
        self.msi = 0 if kinds == "msix" else int(option["vectors"])
        self.bars = {
            0: ModelBar(HDMA_FILE_SIZE, _BLOCKS[self.map], prefetchable=False),
            2: ModelBar(self.memory_size, memory=True),
            4: ModelBar(0x4000),
        }
        self.metadata = b""

    def __init__(self, name: str = "", **given: str | int | bool) -> None:
        super().__init__(name, **given)
        self.place = self._place()
        knobs = Knobs(
            pace=int(self.option["pace"]) / 1e6,
            abort_at=int(self.option["abort_at"]),
            ignores_cycle=self.option["defect"] == "ignores-cycle",
            checks_links=self.option["links"] == "checked",
        )
        memory = EngineMemory(self, self.device_memory)
        self.channels = {
            (write, number): ChannelModel(
                f"{self.name} {'write' if write else 'read'} {number}",
                self._registers_of(write, number),
                memory,
                self.lock,
                knobs,
                write=write,
            )
            for write in (True, False)
            for number in range(self.count)
        }
        self._show_counts()

    device_memory: int | None = None
    """Where the device itself has the memory of BAR 2, where that is another address than the BAR's."""

    def _place(self) -> EnginePlace:
        known = known_place(self.id, self.count, self.count)
        assert known is not None
        size, base = int(self.option["list_size"]), self.device_memory

        def sized(channel: ChannelPlace) -> ChannelPlace:
            assert channel.list is not None
            assert channel.data is not None
            regions = [replace(channel.list, size=size), channel.data]
            if base is not None:
                regions = [replace(one, address=base + one.offset) for one in regions]
            return ChannelPlace(channel.number, *regions)

        writes, reads = ([sized(one) for one in part] for part in (known.writes, known.reads))
        return EnginePlace(self.map, 0, 0, tuple(writes), tuple(reads))

    def _registers_of(self, write: bool, number: int) -> V0Registers | HdmaRegisters:
        file, defect = self.registers(), str(self.option["defect"])
        if self.map is Map.HDMA:
            row = file.row(Hdma.WRITES if write else Hdma.READS, number)
            return HdmaRegisters(row, self.post, defect)
        row = file.row(Unroll.WRITES if write else Unroll.READS, number)
        return V0Registers(file, row, WRITE if write else READ, number, self.post, defect)

    def post(self, address: int, data: int) -> None:
        """Send a message. Where nothing takes it, that is in the host's fault log and not seen here."""
        with contextlib.suppress(BusFault):
            self.send(address, data)

    def _show_counts(self) -> None:
        if self.map is not Map.HDMA:
            self.registers().set(Common.CONTROL, write_channels=self.count, read_channels=self.count)
        self.metadata = b""
        if self.option["metadata"]:
            self._describe(ready=False)

    def _describe(self, *, ready: bool) -> None:
        addresses = [self.bar_address(bar) if bar in self.bars else 0 for bar in range(6)]
        self.metadata = encode_metadata(self.place, addresses, HDMA_FILE_SIZE, ready=ready)

    def capabilities(self, config: ConfigBuilder) -> None:
        super().capabilities(config)
        if self.option["vsec"]:
            body = Vsec(self.map, 0, self.count, self.count, 0).body()
            config.add(ExtendedVendorSpecific.new(6, body))
        if self.device_memory is not None:
            config.add(ExtendedVendorSpecific.new(0x20, self.device_memory.to_bytes(8, "little")))

    # --- where an access goes -----------------------------------------------------------------------------------------

    def _inside(self, offset: int) -> int | None:
        """The place in the register file of an access to BAR 0; None: nothing is there."""
        again = int(self.option["registers"])
        if again and offset >= again:
            offset -= again
        if self.map is Map.LEGACY:
            if offset in _VIEWPORT:
                view = self.registers().get(Legacy.VIEWPORT)
                repeat = Unroll.READS if view.read else Unroll.WRITES
                return repeat.offset + view.channel * repeat.stride + offset - _VIEWPORT.start
            return None if offset >= Unroll.WRITES.offset else offset
        return offset

    def read(self, region: int, offset: int, size: int) -> bytes:
        if region == 0:
            inside = self._inside(offset)
            return bytes(size) if inside is None and not self.config.asleep else super().read(0, inside or 0, size)
        if region == _METADATA_BAR and offset < len(self.metadata) and not self.config.asleep:
            return self.metadata[offset : offset + size].ljust(size, b"\0")
        return super().read(region, offset, size)

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region == 0:
            inside = self._inside(offset)
            if inside is not None:
                super().write(0, inside, data)
                if self.map is Map.HDMA:
                    hdma_written(self, inside)
        elif region == _METADATA_BAR and offset < _METADATA_END:
            if self.metadata and offset == Header.CONTROL.offset and data[-1] & 0x40:
                self._describe(ready=True)
        else:
            super().write(region, offset, data)

    def reset(self) -> None:
        super().reset()
        for channel in self.channels.values():
            channel.reset()
        self._show_counts()

    def close(self) -> None:
        for channel in self.channels.values():
            channel.close()
        super().close()


class HdmaModel(EdmaModel):
    """AMD's MDB: HDMA in its native map, 8 write and 8 read channels."""

    id = "10ee:b054"
    options = OPTIONS | {
        "map": Option("hdma", "how the registers are laid out: AMD's are native", ("hdma",)),
        "channels": Option(8, "how many write channels there are, and as many read channels"),
    }
    memory_size = 64 << 20
    device_memory = 0x8_0000_0000
