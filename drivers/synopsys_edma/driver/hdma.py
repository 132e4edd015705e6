# SPDX-License-Identifier: Apache-2.0
"""Programs HDMA channels (native map): start, stop, status, causes. Writes in Linux' order (dw_hdma_v0_core_start)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.ims import JoinedTable, SlotArray

from ..hardware.hdma import Hdma, HdmaChannel, hdma_slots
from ..hardware.registers import State
from .engine import write_pair

if TYPE_CHECKING:
    from vfio_ims.device import Device

    from ..hardware.places import EnginePlace

__all__ = ["HdmaEngine"]


class HdmaChannelRegisters:
    """``ChannelRegisters``. A channel interrupts whenever it stops, as long as its interrupts are on.

    A slot that is not in use is parked on memory, so that they stay on from ``prepare`` to ``silence``.
    """

    interrupts_by_element = False

    def __init__(self, name: str, number: int, regs: HdmaChannel) -> None:
        self.label, self._regs = f"{name} channel {number}", regs

    def prepare(self) -> None:
        self._regs.ENABLE.write(on=1)
        # A cause is recorded only where its local interrupt is on; the masks keep that from the endpoint's processor.
        self._regs.INT_SETUP.write(
            remote_stop=1, local_stop=1, remote_abort=1, local_abort=1, mask_stop=1, mask_watermark=1, mask_abort=1
        )

    def silence(self) -> None:
        """No message, no work, no recorded cause."""
        self._regs.INT_SETUP.write(mask_stop=1, mask_watermark=1, mask_abort=1)
        self._regs.ENABLE.write(on=0)
        self._regs.INT_CLEAR.write(stop=1, watermark=1, abort=1)

    def begin(self, address: int) -> None:
        regs = self._regs
        regs.CONTROL1.write(lle=1)
        write_pair(regs.LIST_LOW, regs.LIST_HIGH, address)
        regs.CYCLE.write(bit=1, state=1)  # before the first doorbell only: the engine keeps it from then on

    def move(self, source: int, target: int, size: int, *, interrupt: bool) -> None:
        regs = self._regs
        regs.CONTROL1.write(lle=0)
        regs.SIZE.write(size)
        write_pair(regs.SOURCE_LOW, regs.SOURCE_HIGH, source)
        write_pair(regs.TARGET_LOW, regs.TARGET_HIGH, target)

    def ring(self) -> None:
        self._regs.DOORBELL.write(start=1)

    def state(self) -> State:
        return State(self._regs.STATUS.read().state)

    def wait(self, timeout: float) -> State:
        field = HdmaChannel.STATUS.fields["state"]
        register = self._regs.STATUS
        value = self._regs.window.poll(register.offset, 4, field.mask, field.put(0, State.STOPPED), timeout)
        return State(field.get(value))

    def position(self) -> int:
        return self._regs.LIST_LOW.read()

    def stop(self) -> None:
        self._regs.DOORBELL.write(stop=1)

    def error(self) -> str:
        return "HDMA does not say why"

    def take_cause(self) -> bool:
        """Whether a cause is recorded, which is cleared."""
        found = self._regs.INT_STATUS.read()
        if found:
            self._regs.INT_CLEAR.write(int(found))
        return bool(found)

    @property
    def on(self) -> bool:
        return bool(self._regs.ENABLE.read().on)


class HdmaEngine:
    """``Engine`` in HDMA's native map."""

    def __init__(self, device: Device, place: EnginePlace) -> None:
        self._device, self._place = device, place
        regs = device.bar(place.bar).bind(Hdma, place.offset)
        self._parts = (("write", Hdma.WRITES.offset, place.writes), ("read", Hdma.READS.offset, place.reads))
        self.channels = [
            HdmaChannelRegisters(name, channel.number, (regs.READS if name == "read" else regs.WRITES)[channel.number])
            for name, _, part in self._parts
            for channel in part
        ]

    def start(self) -> None:
        self.stop()
        for channel in self.channels:
            channel.prepare()

    def stop(self) -> None:
        for channel in self.channels:
            channel.silence()

    def take_causes(self) -> int:
        return sum(1 << number for number, channel in enumerate(self.channels) if channel.take_cause())

    def on(self) -> bool:
        return all(channel.on for channel in self.channels)

    def table(self) -> JoinedTable:
        bar, base = self._place.bar, self._place.offset
        counts = [(start, max((one.number for one in part), default=-1) + 1) for _, start, part in self._parts]
        layouts = [hdma_slots(bar, base + start, count) for start, count in counts if count]
        return JoinedTable([SlotArray(self._device, layout) for layout in layouts])
