# SPDX-License-Identifier: Apache-2.0
"""What accesses to the registers of BAR 2 set off, and what they show of what changes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vfio_ims.models import DeviceModel, on_read, on_write
from vfio_ims.registers import Register, RegisterValue

from ..hardware.ports import DirectedPort25, LdbPort25
from ..hardware.queues import DirectedQueue, Domain, LdbQueue, PortMap
from ..hardware.registers import Bar2
from ..hardware.v20 import Bar2V20, DirectedPort20, DirectedQueue20, Domain20, LdbPort20, LdbQueue20, PortMap20

if TYPE_CHECKING:
    from vfio_ims.registers import Block

    from .core import Core
    from .ports import PortState

__all__ = ["Behaviour", "WordsKept"]

_MOST_WORDS = 1 << 16


def _all(*blocks: type[Block]) -> tuple[Register, ...]:
    """Every register of ``blocks``, once."""
    return tuple(dict.fromkeys(register for block in blocks for register in block.registers.values()))


_ARMED = tuple(dict.fromkeys(b.registers[n] for b in (Bar2, Bar2V20) for n in b.registers if "_ARMED_" in n))
_CREDITS = (Domain.CFG_VAS_CRD, Domain20.CFG_LDB_VAS_CRD)
_POWER = (Bar2.PM_STATUS, Bar2V20.PM_STATUS)


class WordsKept:
    """Registers that are not declared: what is written is read again. Of as many as a driver may mean to write."""

    def __init__(self) -> None:
        self._words: dict[tuple[int, int], bytes] = {}

    def clear(self) -> None:
        self._words.clear()

    def store(self, region: int, offset: int, data: bytes) -> None:
        if region == 2 and len(data) == 4 and len(self._words) < _MOST_WORDS:
            self._words[region, offset] = data

    def load(self, region: int, offset: int, size: int) -> bytes:
        return self._words.get((region, offset), b"")[:size].ljust(size, b"\0")


class Behaviour(DeviceModel):
    """The hooks of both versions."""

    core: Core
    block: ClassVar[type[Bar2]]

    # --- ports --------------------------------------------------------------------------------------------------------

    @on_write(*_all(LdbPort25, LdbPort20))
    def ldb_port(self, row: int, value: RegisterValue) -> None:
        self._port(self.core.ports[row], value)

    @on_write(*_all(DirectedPort25, DirectedPort20))
    def directed_port(self, row: int, value: RegisterValue) -> None:
        self._port(self.core.directed[row], value)

    def _port(self, port: PortState, value: RegisterValue) -> None:
        port.written_to(value.declaration().name, value)
        self.core.settle()

    @on_read(*_all(LdbPort25, LdbPort20))
    def show_ldb_port(self, row: int) -> None:
        self.core.ports[row].publish()

    @on_read(*_all(DirectedPort25, DirectedPort20))
    def show_directed_port(self, row: int) -> None:
        self.core.directed[row].publish()

    @on_write(*_ARMED)
    def arm(self, value: RegisterValue) -> None:
        kind, _, number = value.declaration().name.partition("_ARMED_")
        ports = self.core.ports if kind == "LDB" else self.core.directed
        for bit in range(32):
            if value >> bit & 1 and 32 * int(number) + bit < len(ports):
                self.core.arm(ports[32 * int(number) + bit])

    @on_read(*_ARMED)
    def show_armed(self) -> None:
        for kind, ports in (("LDB", self.core.ports), ("DIR", self.core.directed)):
            for first in range(0, len(ports), 32):
                bits = sum(1 << port.number % 32 for port in ports[first : first + 32] if port.armed)
                self.registers(2).set(self.block.registers[f"{kind}_ARMED_{first // 32}"], bits)

    # --- queues and domains -------------------------------------------------------------------------------------------

    @on_write(*_all(LdbQueue, LdbQueue20))
    def ldb_queue(self, row: int, value: RegisterValue) -> None:
        queue, name = self.core.queues[row], value.declaration().name
        if "TOT_ENQ" in name:
            queue.entered, queue.entered_atomic = (0, queue.entered_atomic) if "NALDB" in name else (queue.entered, 0)
        elif name == "QID_NALDB_MAX_DEPTH":
            queue.deepest = 0
        self.core.settings.decode_queue(queue)
        self.core.settle()

    @on_write(PortMap.ATM, PortMap.LSP, PortMap.LSP2, PortMap20.LSP, PortMap20.LSP2)
    def port_map(self, _row: int, _value: RegisterValue) -> None:
        self.core.settings.forget_maps()
        self.core.settle()

    @on_read(*_all(LdbQueue, LdbQueue20))
    def show_ldb_queue(self, row: int) -> None:
        self.core.show_queue(row)

    @on_write(*_all(DirectedQueue, DirectedQueue20))
    def directed_queue(self, row: int, value: RegisterValue) -> None:
        queue, name = self.core.directed_queues[row], value.declaration().name
        if "TOT_ENQ" in name:
            queue.entered = 0
        elif name == "QID_MAX_DEPTH":
            queue.deepest = 0

    @on_read(*_all(DirectedQueue, DirectedQueue20))
    def show_directed_queue(self, row: int) -> None:
        self.core.show_directed_queue(row)

    @on_write(*_CREDITS)
    def set_credits(self, row: int, value: RegisterValue) -> None:
        self.core.credits[self._pool(row, value.declaration())] = value.count

    @on_read(*_CREDITS)
    def show_credits(self, row: int) -> None:
        """Show what is left: inferred, no driver reads it."""
        view = self.registers(2).row(self.block.DOMAIN, row)
        for register in self.block.DOMAIN.block.registers.values():
            view.set(register, self.core.credits.get(self._pool(row, register), 0))

    def _pool(self, domain: int, register: Register) -> tuple[int, bool]:
        return domain, not self.core.combined and register.name == "CFG_VAS_CRD"

    # --- the rest -----------------------------------------------------------------------------------------------------

    @on_write(Bar2.MSIX_ACK)
    def acknowledge(self, value: RegisterValue) -> None:
        self.core.interrupts.acknowledged(value)

    @on_read(*_POWER)
    def show_power(self) -> None:
        """Show state 1 once PMCSR_DISABLE is clear; that it is 0 before is inferred."""
        off = self.registers(2).get(self.block.PMCSR_DISABLE).disable
        self.registers(2).update(self.block.PM_STATUS, state=0 if off else 1)
