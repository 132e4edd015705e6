# SPDX-License-Identifier: Apache-2.0
"""The driver: channels to move data with, and a slot of the message store for each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vfio_ims.driver import Driver, FireReport
from vfio_ims.errors import DeviceError, UnsupportedError, UsageError, check_index
from vfio_ims.ims import FireStatus, ImsInterrupt, ImsTable
from vfio_ims.locks import made_once, make_rlock

from ..hardware.places import ChannelPlace, EnginePlace
from ..hardware.registers import Map, State
from .causes import Causes
from .channel import Channel
from .finding import bus_address, find_engine
from .hdma import HdmaEngine
from .ring import Ring
from .v0 import V0Engine
from .window import DataWindow
from .work import Work

if TYPE_CHECKING:
    from vfio_ims.dma import Buffer

    from .engine import Engine

__all__ = ["Edma"]

_FIRE = 5.0  # seconds that 4 bytes may take, behind what the channel is doing


class Edma(Driver):
    """A DesignWare DMA engine behind an endpoint function.

    Slot n belongs to channel n: write channels first, then read channels. Its message is sent when a list is done and
    when it is aborted. There is no mask: a slot is silenced by stopping its channel.
    """

    reserved_vectors = ()

    @made_once
    def place(self) -> EnginePlace:
        """Where everything is, and how that was found out."""
        return find_engine(self.device)

    @made_once
    def engine(self) -> Engine:
        """The registers."""
        place = self.place
        if place.map is Map.HDMA:
            return HdmaEngine(self.device, place)
        return V0Engine(self.device, place, make_rlock())

    @made_once
    def channels(self) -> tuple[Channel, ...]:
        """Every channel, by slot."""
        places = (*self.place.writes, *self.place.reads)
        causes = self._causes
        return tuple(
            Channel(self.label, number, Work(self.label, registers, self._ring(place), causes.collect))
            for number, (place, registers) in enumerate(zip(places, self.engine.channels, strict=True))
        )

    def _ring(self, place: ChannelPlace) -> Ring | None:
        if place.list is None:
            return None
        region = place.list
        bus = bus_address(self.device, region.bar) if region.address is None else 0
        if region.address is None and not bus:
            why = f"BAR {region.bar}, which has its lists, has no address on the bus that config space shows"
            raise UnsupportedError("use the DMA engine", device=self.label, why=why)
        address = bus + region.offset if region.address is None else region.address
        return Ring(self.device.bar(region.bar), region.offset, region.size, address)

    @made_once
    def _scratch(self) -> Buffer:
        """The host's side of fires: 4 bytes a slot."""
        return self.device.dma.allocate(4 * len(self.channels))

    # --- channels -----------------------------------------------------------------------------------------------------

    def write_channel(self, number: int = 0, *, completion: str | ImsInterrupt = "ims") -> Channel:
        """Take a channel that moves from the device to the host; ``close`` gives it back.

        ``completion``: "ims", "poll", or the interrupt of the channel's slot. DeviceBusy where it is in use.
        """
        return self._take(number, len(self.place.writes), 0, "write", completion)

    def read_channel(self, number: int = 0, *, completion: str | ImsInterrupt = "ims") -> Channel:
        """Take a channel that moves from the host to the device, as ``write_channel``."""
        return self._take(number, len(self.place.reads), len(self.place.writes), "read", completion)

    def _take(self, number: int, count: int, first: int, name: str, completion: str | ImsInterrupt) -> Channel:
        operation = f"take {name} channel {number}"
        self.check_open(operation)
        check_index(number, count, "number", operation, self.label)
        slot = first + number

        def interrupt() -> tuple[ImsInterrupt | None, bool]:
            if completion == "poll":
                return None, False
            if completion == "ims":
                return self.ims.allocate(slot=slot), True
            if isinstance(completion, ImsInterrupt) and completion.slot == slot:
                return completion, False
            why = f'completion must be "ims", "poll" or the interrupt of slot {slot}, not {completion!r}'
            raise UsageError(operation, device=self.label, why=why)

        return self.channels[slot].take(interrupt)

    def window(self, channel: Channel) -> DataWindow:
        """The device's memory that goes with ``channel``. UnsupportedError where it is not known."""
        self.check_open("open a data window")
        region = (*self.place.writes, *self.place.reads)[channel.number].data
        if region is None:
            why = f"where {channel.label} has memory to move to and from was not said"
            raise UnsupportedError("open a data window", device=self.label, why=why)
        address = bus_address(self.device, region.bar) + region.offset if region.address is None else region.address
        return DataWindow(self.device.bar(region.bar), region.offset, region.size, address)

    # --- the contract of a driver -------------------------------------------------------------------------------------

    @made_once
    def _causes(self) -> Causes:
        return Causes(self.engine)

    def start(self) -> None:
        with self._quiet():
            self._forget("the engine was started anew")
            self.engine.start()
            self._causes.clear()

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        with super()._quiet(), contextlib.ExitStack() as held:
            for channel in self.channels:
                held.enter_context(channel.work.lock)
            yield

    def stop(self) -> None:
        try:
            self.engine.stop()
        finally:
            self._forget("the engine was stopped")

    def _forget(self, why: str) -> None:
        for channel in self.channels:
            channel.work.fail(DeviceError("move data", device=self.label, why=why))

    def ims_table(self) -> ImsTable:
        return self.engine.table()

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        """Move 4 bytes between scratch words, with an interrupt: behind what the channel is doing."""
        if pasid is not None:
            why = "the engine's requests carry no PASID"
            raise UnsupportedError(f"fire slot {slot} for PASID {pasid}", device=self.label, why=why)
        check_index(slot, len(self.channels), "slot", "fire a slot", self.label)
        channel, writes = self.channels[slot], slot < len(self.place.writes)
        ring = channel.work.ring
        inside = self.window(channel).address if ring is None else ring.scratch
        host = self._scratch.iova + 4 * slot
        why = channel.fire(inside if writes else host, host if writes else inside, _FIRE)
        return FireReport(FireStatus.REFUSED, why) if why else FireReport(FireStatus.SENT)

    def fired(self, slots: Sequence[int]) -> Sequence[int]:
        return self._causes.take(slots)

    def quiesce(self, slot: int) -> None:
        self.channels[slot].work.halt(DeviceError("move data", device=self.label, why=f"slot {slot} was quiesced"))

    def status(self) -> str:
        registers = [channel.work.registers for channel in self.channels]
        halted = [one for one in registers if one.state() is State.HALTED]
        return "; ".join(f"{one.label} is halted: {one.error()}" for one in halted)

    def fault(self) -> str:
        return "" if self.engine.on() else "the DMA engine is disabled"

    def details(self) -> Sequence[tuple[str, str]]:
        place = self.place
        where = f"{place.map.name.lower()} map at BAR {place.bar}+{place.offset:#x}, found by {place.found_by}"
        return [("DMA engine", where), *((f"channel {one.number}", str(one)) for one in self.channels)]
