# SPDX-License-Identifier: Apache-2.0
"""What every covered call of a device goes through: it can fail, be late, set something off, read another value."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from vfio_ims.backends.kernel.access import access_refused, irqs_refused
from vfio_ims.counted import counted
from vfio_ims.errors import DeviceError, VfioImsError
from vfio_ims.faults.fault import Fault
from vfio_ims.faults.moment import Occasion
from vfio_ims.faults.registers import Bits, Registers
from vfio_ims.faults.running import Faults
from vfio_ims.native.failure import failed

__all__ = ["Calls"]

_T = TypeVar("_T")
_MEMORY = ("map", "map_file", "map_region", "unmap", "unmap_all", "pin", "window")


def _name(error: VfioImsError) -> str:
    """The error's errno by its name; what it says where it has none."""
    return errno.errorcode.get(error.errno or 0, error.why.partition(" (")[0])


def _ones(size: int) -> int:
    return (1 << 8 * size) - 1


class Calls:
    """The calls of one device. ``events``: what the faults beside any access do, by kind; each returns its words."""

    def __init__(self, faults: Faults, registers: Registers, events: Mapping[str, Callable[[], str]]) -> None:
        self.faults, self._names, self._events = faults, registers, events
        self._on_registers = any(f.moment.on and f.moment.on[0] != "call" for f in faults.faults)
        faults.name_registers(registers.named)
        self._bits: list[tuple[Fault, Bits]] = [
            (fault, registers.find(fault.target)) for fault in faults.faults if fault.kind in ("stuck", "flip")
        ]

    # --- calls --------------------------------------------------------------------------------------------------------

    def before(self, verb: str, region: int | None = None, offset: int = 0, *, write: bool = False) -> None:
        """One call is about to be made. Raises what a fault makes of it."""
        faults = self.faults
        if faults.within:
            return
        faults.calls += 1
        faults.verbs[verb] += 1
        register = self._names.name(region, offset) if region is not None and self._on_registers else ""
        for fault in faults.due(("call", "event"), Occasion(verb, register, write)):
            what = f"call {faults.calls}, {verb}" + ("" if region is None else f" at {offset:#x} of region {region}")
            if fault.kind == "slow":
                faults.record(fault, f"{what}: answered {fault.seconds:g} s late")
                faults.clock.pause(fault.seconds)
            elif fault.kind in ("fail", "short"):
                error = self._error(fault, verb)
                how = (
                    f"gave {counted(fault.number, 'byte')}" if fault.kind == "short" else f"failed with {_name(error)}"
                )
                faults.record(fault, f"{what}: {how}")
                raise error
            else:
                with faults.inside():
                    faults.record(fault, f"before {what}: {self._events[fault.kind]()}")

    def _error(self, fault: Fault, verb: str) -> VfioImsError:
        device, operation = self.faults.device, verb.replace("_", " ")
        if fault.kind == "short":
            given = counted(fault.number, "byte")
            return DeviceError(operation, device=device, why=f"the kernel gave {given} and no more (injected: {fault})")
        if verb == "set_irqs":
            error = irqs_refused(fault.number, operation, device)
        elif verb in _MEMORY:
            error = failed(fault.number, operation, device)
        else:
            error = access_refused(fault.number, operation, device)
        error.why = f"{error.why} (injected: {fault})" if error.why else f"injected: {fault}"
        error.args = (error.errno, error.why) if isinstance(error, OSError) else error.args  # its repr says so too
        return error

    def call(self, verb: str, call: Callable[[], _T]) -> _T:
        """A verb of a port or an address space. What it asks of itself is not counted."""
        self.before(verb)
        with self.faults.inside():
            return call()

    def store(self, verb: str, region: int, offset: int, call: Callable[[], Any]) -> None:
        """A write: gone where the device is lost."""
        self.before(verb, region, offset, write=True)
        if not self.faults.lost:
            call()

    def read(self, region: int, offset: int, width: int, call: Callable[[], int], verb: str = "read") -> int:
        """A read of one register."""
        self.before(verb, region, offset)
        return _ones(width) if self.faults.lost else self.value(region, offset, width, call())

    def read_many(self, verb: str, region: int, offsets: Sequence[int], width: int, call: Callable[[], bytes]) -> bytes:
        """One call that reads many registers of ``width`` bytes, one after the other in what it returns."""
        self.before(verb, region, offsets[0] if offsets else 0)
        if self.faults.lost:
            return b"\xff" * (width * len(offsets))
        found = call()
        if not self._bits:
            return found
        cells = (found[at : at + width] for at in range(0, len(found), width))
        return b"".join(
            self.value(region, offset, width, int.from_bytes(cell, "little")).to_bytes(width, "little")
            for offset, cell in zip(offsets, cells, strict=True)
        )

    # --- values -------------------------------------------------------------------------------------------------------

    def changes(self, region: int, offset: int, width: int) -> bool:
        """Whether a read of this place may give another value than the device did."""
        return self.faults.lost or any(bits.meets(region, offset, width) for _, bits in self._bits)

    def value(self, region: int, offset: int, width: int, value: int) -> int:
        """What a read gives, where the device gave ``value``."""
        if self.faults.lost:
            return _ones(width)
        for fault, bits in self._bits:
            if bits.meets(region, offset, width) and not self.faults.within:
                occasion = Occasion("read", self._names.name(region, offset))
                if self.faults.due_one(fault, occasion):
                    new = self._changed(fault, bits, offset, width, value)
                    self.faults.record(fault, f"{fault.target} read as {new:#x}, not {value:#x}")
                    value = new
        return value

    @staticmethod
    def _changed(fault: Fault, bits: Bits, offset: int, width: int, value: int) -> int:
        if fault.kind == "flip":
            return value ^ bits.within(offset, width, (fault.number or 1) << bits.shift & bits.mask)
        mask = bits.within(offset, width, bits.mask)
        return value & ~mask | bits.within(offset, width, fault.number << bits.shift & bits.mask)
