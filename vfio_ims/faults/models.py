# SPDX-License-Identifier: Apache-2.0
"""Faults of a model itself, for every user of it: a server's, whose client may be a kernel in a guest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from vfio_ims.clock import current_clock
from vfio_ims.errors import UsageError
from vfio_ims.faults.bus import BusFaults
from vfio_ims.faults.calls import Calls
from vfio_ims.faults.fault import Fault
from vfio_ims.faults.registers import Registers
from vfio_ims.faults.running import Faults
from vfio_ims.ports.covers import Covered
from vfio_ims.ports.values import IrqIndex

if TYPE_CHECKING:
    from vfio_ims.ports.model import Bus, ModelPort
    from vfio_ims.registers import Block

__all__ = ["inject_model"]

_MESSAGES = range(0xFEE0_0000, 0xFEF0_0000)
"""Interrupt messages of x86 (Intel SDM vol. 3, "Message Address Register Format")."""


def inject_model(model: ModelPort, faults: Iterable[Fault], blocks: dict[int, type[Block]]) -> Faults:
    """Inject faults into a model that nothing is attached to yet: what silicon does, for every driver.

    UsageError for what only a kernel does: fail, short. Returns the record.
    """
    given = list(faults)
    for fault in given:
        if fault.kind in ("fail", "short"):
            why = "a device fails no call: it is the kernel or the client that does"
            raise UsageError(f"inject {fault}", device=model.name, why=why, hint=f"open it with fault={fault}")
    found = Faults(model.name, given, current_clock())
    _ModelFaults(model, found, Registers(blocks))
    return found


class _ModelFaults:
    def __init__(self, model: ModelPort, faults: Faults, registers: Registers) -> None:
        self._model, self._faults, self._bus = model, faults, None
        self._covered = Covered()
        events: dict[str, Callable[[], str]] = {"lost": self._lose, "reset": self._reset}
        events |= {index.name.lower(): partial(self._signal, index) for index in (IrqIndex.ERR, IrqIndex.REQ)}
        self._calls = Calls(faults, registers, events)
        self._covered.cover(model, "attach", self._attach)
        self._covered.cover(model, "read", self._read)
        self._covered.cover(model, "write", self._write)

    _bus: Bus | None

    def _attach(self, call: Callable[[Any], None]) -> Callable[[Any], None]:
        def covered(bus: Bus) -> None:
            message = lambda iova, size: size == 4 and iova in _MESSAGES  # noqa: E731
            BusFaults(bus, self._faults, self._covered, message, lambda *refused: None)
            self._bus = bus
            call(bus)

        return covered

    def _read(self, call: Callable[[int, int, int], bytes]) -> Callable[[int, int, int], bytes]:
        def covered(region: int, offset: int, size: int) -> bytes:
            read = lambda: int.from_bytes(call(region, offset, size), "little")  # noqa: E731
            return self._calls.read(region, offset, size, read).to_bytes(size, "little")

        return covered

    def _write(self, call: Callable[[int, int, bytes], None]) -> Callable[[int, int, bytes], None]:
        return lambda region, offset, data: self._calls.store(
            "write", region, offset, lambda: call(region, offset, data)
        )

    def _lose(self) -> str:
        self._faults.lost = True
        return "the device was lost"

    def _reset(self) -> str:
        self._model.reset()
        return "the device was reset"

    def _signal(self, index: IrqIndex) -> str:
        if self._bus is not None:
            self._bus.interrupt(index, 0)
        return f"{index.name} was signalled"
