# SPDX-License-Identifier: Apache-2.0
"""Programs eDMA v0 channels (legacy, unrolled and HDMA-compatible maps): start, stop, doorbell, status, causes.

The order of writes is Linux 7.3's (dw_edma_v0_core_ch_enable, dw_edma_v0_core_dir_off): it works on silicon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.device.viewport import Viewport
from vfio_ims.ims import JoinedTable, SlotArray
from vfio_ims.registers import BoundRegister

from ..hardware.registers import Channel, Common, Compatible, Legacy, Map, State, Unroll, read_slots, write_slots
from .directions import Direction, directions
from .engine import write_pair

if TYPE_CHECKING:
    import threading

    from vfio_ims.device import Device
    from vfio_ims.device.bar import Bar

    from ..hardware.places import EnginePlace

__all__ = ["V0Engine"]

_ALL = 0x00FF_00FF


class V0Channel:
    """``ChannelRegisters``. ``power``: its switch, in the HDMA-compatible map."""

    interrupts_by_element = True

    def __init__(self, direction: Direction, number: int, regs: Channel, power: BoundRegister | None) -> None:
        self._direction, self._number, self._regs, self._power = direction, number, regs, power
        self._error = ""  # as it was when the abort was acknowledged, which may clear it
        self.label = f"{direction.name} channel {number}"

    def prepare(self) -> None:
        if self._power is not None:
            self._power.write(on=1)

    def silence(self) -> None:
        """No work, where the channel has a switch of its own."""
        if self._power is not None:
            self._power.write(on=0)

    @property
    def powered(self) -> bool:
        """Whether its switch is on; True where it has none."""
        return self._power is None or bool(self._power.read().on)

    def begin(self, address: int) -> None:
        self._error = ""
        self._regs.CONTROL1.write(ccs=1, lle=1)
        write_pair(self._regs.LIST_LOW, self._regs.LIST_HIGH, address)

    def move(self, source: int, target: int, size: int, *, interrupt: bool) -> None:
        regs, self._error = self._regs, ""
        regs.CONTROL1.write(lie=interrupt, rie=interrupt)
        regs.SIZE.write(size)
        write_pair(regs.SOURCE_LOW, regs.SOURCE_HIGH, source)
        write_pair(regs.TARGET_LOW, regs.TARGET_HIGH, target)

    def ring(self) -> None:
        self._direction.doorbell.write(channel=self._number)

    def state(self) -> State:
        return State(self._regs.CONTROL1.read().status)

    def wait(self, timeout: float) -> State:
        control = self._regs.CONTROL1
        field = Channel.CONTROL1.fields["status"]
        value = self._regs.window.poll(control.offset, 4, field.mask, field.put(0, State.STOPPED), timeout)
        return State(field.get(value))

    def position(self) -> int:
        return self._regs.LIST_LOW.read()

    def stop(self) -> None:
        self._direction.doorbell.write(channel=self._number, stop=1)

    def note_error(self) -> None:
        """Keep what the error registers say: the abort is about to be acknowledged."""
        self._error = self.error()

    def error(self) -> str:
        if self._error:
            return self._error
        found = []
        for register in self._direction.errors:
            value = register.read()
            found += [name for name, bits in value.fields().items() if bits >> self._number & 1]
        return ", ".join(_WORDS[name] for name in found) or "no error is recorded"


_WORDS = {
    "application": "the device's own memory answered with an error",
    "fetch": "an element of its list could not be fetched",
    "unsupported": "the host did not answer a read (unsupported request)",
    "completer_abort": "the host refused a read (completer abort)",
    "timeout": "the host did not answer a read in time",
    "poisoned": "the host answered a read with poisoned data",
}


class V0Engine:
    """``Engine`` in one of v0's maps. The viewport of the legacy map is under ``lock``."""

    def __init__(self, device: Device, place: EnginePlace, lock: threading.RLock) -> None:
        self._device, self._place = device, place
        bar = device.bar(place.bar)
        self._regs = bar.bind(Common, place.offset)
        self._directions = directions(self._regs)
        writes, reads = ([channel.number for channel in part] for part in (place.writes, place.reads))
        self._numbers = (writes, reads)
        make = _channel_maker(bar, place, lock)
        self.channels = [
            V0Channel(direction, number, *make(direction.name == "read", number))
            for direction, numbers in zip(self._directions, self._numbers, strict=True)
            for number in numbers
        ]

    def start(self) -> None:
        self.stop()  # which leaves the local interrupts masked: messages are sent all the same
        for direction, numbers in zip(self._directions, self._numbers, strict=True):
            direction.enable.write(on=1)
            direction.list_errors.write(remote=sum(1 << number for number in numbers))
        for channel in self.channels:
            channel.prepare()

    def stop(self) -> None:
        for direction in self._directions:
            direction.mask.write(_ALL)
            direction.enable.write(on=0)
        for channel in self.channels:
            channel.silence()
        for direction in self._directions:
            direction.clear.write(_ALL)
            direction.enable.read()

    def take_causes(self) -> int:
        found, place = 0, 0
        for direction, numbers in zip(self._directions, self._numbers, strict=True):
            status = direction.status.read()
            if status:
                for n, number in enumerate(numbers):
                    if status.abort >> number & 1:
                        self.channels[place + n].note_error()
                direction.clear.write(int(status))
                causes = status.done | status.abort
                found |= sum(1 << place + n for n, number in enumerate(numbers) if causes >> number & 1)
            place += len(numbers)
        return found

    def on(self) -> bool:
        if self._place.map is Map.HDMA_COMPATIBLE:
            return all(channel.powered for channel in self.channels)
        return all(direction.enable.read().on for direction in self._directions)

    def table(self) -> JoinedTable:
        bar, base = self._place.bar, self._place.offset
        writes, reads = (max(numbers, default=-1) + 1 for numbers in self._numbers)
        parts = [layout(bar, base, count) for layout, count in ((write_slots, writes), (read_slots, reads)) if count]
        return JoinedTable([SlotArray(self._device, layout) for layout in parts])


def _channel_maker(
    bar: Bar, place: EnginePlace, lock: threading.RLock
) -> Callable[[bool, int], tuple[Channel, BoundRegister | None]]:
    """What gives a channel its registers, by direction and number."""
    if place.map is Map.LEGACY:
        base = place.offset
        viewport = Viewport(bar.window, base + Legacy.VIEWPORT.offset, lock)

        def seen(read: bool, number: int) -> tuple[Channel, BoundRegister | None]:
            selected = int(Legacy.VIEWPORT.value(channel=number, read=read))
            return viewport.bind(Channel, base + Legacy.SELECTED.offset, selected, bar.port.name), None

        return seen
    if place.map is Map.HDMA_COMPATIBLE:
        compatible = bar.bind(Compatible, place.offset)

        def powered(read: bool, number: int) -> tuple[Channel, BoundRegister | None]:
            channels, power = (
                (compatible.READS, compatible.READ_POWER) if read else (compatible.WRITES, compatible.WRITE_POWER)
            )
            return channels[number], power[number].ENABLE

        return powered
    unrolled = bar.bind(Unroll, place.offset)
    return lambda read, number: ((unrolled.READS if read else unrolled.WRITES)[number], None)
