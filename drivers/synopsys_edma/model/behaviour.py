# SPDX-License-Identifier: Apache-2.0
"""What a write to a register sets off: doorbells, switches, and acknowledged causes."""

from __future__ import annotations

from vfio_ims.models import DeviceModel, on_write
from vfio_ims.registers import RegisterValue

from ..hardware.hdma import Hdma, HdmaChannel
from ..hardware.registers import Common, Compatible, Map, Power, State
from .channel import ChannelModel
from .v0 import READ, WRITE, V0Registers

__all__ = ["V0Behaviour", "hdma_written"]


class V0Behaviour(DeviceModel):
    """The registers that all channels of a direction share, in v0's maps. ``channels``: by direction and number."""

    map: Map
    channels: dict[tuple[bool, int], ChannelModel]

    @on_write(Common.WRITE_DOORBELL)
    def ring_write(self, value: RegisterValue) -> None:
        self._ring(True, value)

    @on_write(Common.READ_DOORBELL)
    def ring_read(self, value: RegisterValue) -> None:
        self._ring(False, value)

    def _ring(self, write: bool, value: RegisterValue) -> None:
        channel = self.channels.get((write, value.channel))
        if channel is None:
            return
        if value.stop:
            channel.stop(State.HALTED)
        elif self._enabled(write, value.channel):
            channel.start()

    def _enabled(self, write: bool, number: int) -> bool:
        if self.map is not Map.HDMA_COMPATIBLE:
            return bool(self.registers().get(Common.WRITE_ENABLE if write else Common.READ_ENABLE).on)
        repeat = Compatible.WRITE_POWER if write else Compatible.READ_POWER
        return bool(self.registers().row(repeat, number).get(Power.ENABLE).on)

    @on_write(Common.WRITE_ENABLE)
    def enable_write(self, value: RegisterValue) -> None:
        self._enable(True, value)

    @on_write(Common.READ_ENABLE)
    def enable_read(self, value: RegisterValue) -> None:
        self._enable(False, value)

    def _enable(self, write: bool, value: RegisterValue) -> None:
        for (direction, _), channel in self.channels.items():
            if direction == write and not value.on:
                channel.stop(State.IDLE)

    @on_write(Power.ENABLE)
    def power(self, _row: int, _: RegisterValue) -> None:
        for (write, number), channel in self.channels.items():
            if not self._enabled(write, number):
                channel.stop(State.IDLE)

    @on_write(Common.WRITE_CLEAR)
    def clear_write(self, value: RegisterValue) -> None:
        self._clear(True, value)

    @on_write(Common.READ_CLEAR)
    def clear_read(self, value: RegisterValue) -> None:
        self._clear(False, value)

    def _clear(self, write: bool, value: RegisterValue) -> None:
        file, direction = self.registers(), WRITE if write else READ
        status, error = file.get(direction.status), file.get(direction.error)
        file.set(direction.status, done=status.done & ~value.done, abort=status.abort & ~value.abort)
        file.set(direction.error, application=error.application & ~value.abort, fetch=error.fetch & ~value.abort)
        if direction.error_high is not None:
            high = file.get(direction.error_high)
            file.set(direction.error_high, unsupported=high.unsupported & ~value.abort)

    @on_write(Common.WRITE_STATUS, Common.READ_STATUS)
    def emulate(self, _: RegisterValue) -> None:
        registers = self.channels[True, 0].registers
        if self.option["emulated"] and isinstance(registers, V0Registers):
            registers.emulate()


def hdma_written(model: V0Behaviour, offset: int) -> None:
    """A register of HDMA's native map was written, at ``offset`` from the map's start."""
    number, read, at = offset // 0x200, bool(offset & 0x100), offset & 0xFC
    channel = model.channels.get((not read, number))
    if channel is None:
        return
    row = model.registers().row(Hdma.READS if read else Hdma.WRITES, number)
    value = row.get
    if at == HdmaChannel.DOORBELL.offset:
        bell = value(HdmaChannel.DOORBELL)
        row.set(HdmaChannel.DOORBELL, 0)
        if bell.stop:
            model.after(channel.stop, State.HALTED)
        elif bell.start and value(HdmaChannel.ENABLE).on:
            model.after(channel.start)
    elif at == HdmaChannel.ENABLE.offset and not value(HdmaChannel.ENABLE).on:
        model.after(channel.stop, State.IDLE)
    elif at == HdmaChannel.INT_CLEAR.offset:
        gone = row.get(HdmaChannel.INT_CLEAR)
        row.set(HdmaChannel.INT_CLEAR, 0)
        row.set(HdmaChannel.INT_STATUS, value(HdmaChannel.INT_STATUS) & ~gone)
