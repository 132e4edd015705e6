# SPDX-License-Identifier: Apache-2.0
"""One modelled eDMA v0 channel's registers, as its work reads and updates them; its messages of done and abort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..hardware.elements import LOCAL, REMOTE, Element
from ..hardware.registers import Channel, Common, State
from .channel_registers import Abort

if TYPE_CHECKING:
    from vfio_ims.models.register_file import RegisterFile, View
    from vfio_ims.registers import Register

__all__ = ["READ", "WRITE", "Direction", "V0Registers"]


@dataclass(frozen=True, slots=True)
class Direction:
    """The registers that one direction's channels share. ``data``: the first of four data registers."""

    status: Register
    error: Register
    done: tuple[Register, Register]
    abort: tuple[Register, Register]
    data: tuple[Register, ...]
    list_errors: Register
    error_high: Register | None


WRITE = Direction(
    Common.WRITE_STATUS,
    Common.WRITE_ERROR,
    (Common.WRITE_DONE_LOW, Common.WRITE_DONE_HIGH),
    (Common.WRITE_ABORT_LOW, Common.WRITE_ABORT_HIGH),
    (Common.WRITE_DATA_01, Common.WRITE_DATA_23, Common.WRITE_DATA_45, Common.WRITE_DATA_67),
    Common.WRITE_LIST_ERRORS,
    None,
)
READ = Direction(
    Common.READ_STATUS,
    Common.READ_ERROR,
    (Common.READ_DONE_LOW, Common.READ_DONE_HIGH),
    (Common.READ_ABORT_LOW, Common.READ_ABORT_HIGH),
    (Common.READ_DATA_01, Common.READ_DATA_23, Common.READ_DATA_45, Common.READ_DATA_67),
    Common.READ_LIST_ERRORS,
    Common.READ_ERROR_HIGH,
)
_DEFECTIVE = {"loses-done", "late-status"}


class V0Registers:
    """``Registers`` of channel ``number``. ``send(address, data)`` writes a message; ``defect``: the model's."""

    def __init__(
        self,
        file: RegisterFile,
        channel: View,
        direction: Direction,
        number: int,
        send: Callable[[int, int], None],
        defect: str = "none",
    ) -> None:
        self._file, self._channel, self._direction, self._number = file, channel, direction, number
        self._send, self._defect = send, defect

    def list_mode(self) -> bool:
        return bool(self._channel.get(Channel.CONTROL1).lle)

    def block(self) -> Element:
        control = self._channel.get(Channel.CONTROL1) & (LOCAL | REMOTE)
        source = self._wide(Channel.SOURCE_LOW, Channel.SOURCE_HIGH)
        target = self._wide(Channel.TARGET_LOW, Channel.TARGET_HIGH)
        return Element(control, self._channel.get(Channel.SIZE), source, target)

    def _wide(self, low: Register, high: Register) -> int:
        return self._channel.get(high) << 32 | self._channel.get(low)

    def pointer(self) -> int:
        return self._wide(Channel.LIST_LOW, Channel.LIST_HIGH)

    def set_pointer(self, address: int) -> None:
        self._channel.set(Channel.LIST_LOW, address & 0xFFFF_FFFF)
        self._channel.set(Channel.LIST_HIGH, address >> 32)

    def cycle(self) -> bool:
        return bool(self._channel.get(Channel.CONTROL1).ccs)

    def set_cycle(self, cycle: bool) -> None:
        self._channel.update(Channel.CONTROL1, ccs=int(cycle))

    def set_state(self, state: State) -> None:
        self._channel.update(Channel.CONTROL1, status=int(state))

    def done(self, control: int, *, stopped: bool) -> None:
        """Only elements that ask for it interrupt: the end of a list does so by its last one."""
        if not control & (LOCAL | REMOTE):
            return
        status = self._direction.status
        if control & REMOTE and self._defect == "late-status":
            self._message(self._direction.done)
        self._file.update(status, done=self._file.get(status).done | 1 << self._number)
        if control & REMOTE and self._defect not in _DEFECTIVE:
            self._message(self._direction.done)

    def aborted(self, control: int, why: Abort) -> None:
        direction, bit = self._direction, 1 << self._number
        if why is Abort.UNSUPPORTED and direction.error_high is not None:
            self._file.update(direction.error_high, unsupported=self._file.get(direction.error_high).unsupported | bit)
        elif why is Abort.FETCH:
            self._file.update(direction.error, fetch=self._file.get(direction.error).fetch | bit)
        else:
            self._file.update(direction.error, application=self._file.get(direction.error).application | bit)
        self._file.update(direction.status, abort=self._file.get(direction.status).abort | bit)
        if control & REMOTE or self._file.get(direction.list_errors).remote & bit:
            self._message(direction.abort)

    def _message(self, address: tuple[Register, Register]) -> None:
        low, high = (self._file.get(register) for register in address)
        word = self._file.get(self._direction.data[self._number // 2])
        self._send(high << 32 | low, word >> 16 * (self._number % 2) & 0xFFFF)

    def emulate(self) -> None:
        """A write to the status register: a message as if the channel was done, and no status bit."""
        self._message(self._direction.done)
