# SPDX-License-Identifier: Apache-2.0
"""Injects faults: into a device that is open, and into those that are opened by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from vfio_ims.clock import current_clock
from vfio_ims.device import Device
from vfio_ims.errors import UsageError, VfioImsError
from vfio_ims.families import blocks_of, family_for
from vfio_ims.faults.fault import Fault
from vfio_ims.faults.kinds import KINDS
from vfio_ims.faults.ports import PortFaults
from vfio_ims.faults.registers import Registers
from vfio_ims.faults.running import Faults, FaultWarning
from vfio_ims.locks import made
from vfio_ims.ports.values import RegionIndex
from vfio_ims.tracing.opening import OPENED

if TYPE_CHECKING:
    from vfio_ims.families import Family
    from vfio_ims.ports.device import DevicePort

__all__ = ["begin", "inject", "inject_named", "inject_opened"]


class HasDevice(Protocol):
    """A driver: it has its device."""

    @property
    def device(self) -> Device: ...


def _families_blocks(port: DevicePort) -> Registers:
    """The registers that the family of the port's ids declares; none where there is no family."""
    family: Family | None = None
    if port.region_info(RegionIndex.CONFIG).size:
        ids = port.read_region(RegionIndex.CONFIG, 0, 4)
        with suppress(VfioImsError):
            family = family_for(int.from_bytes(ids[:2], "little"), int.from_bytes(ids[2:], "little"))
    return Registers(blocks_of(family))


def begin(port: DevicePort, given: Iterable[Fault], on_close: Callable[[], None] = lambda: None) -> PortFaults:
    """Inject faults into a port, from its next call on. UsageError where one cannot be had on this mount."""
    faults = Faults(port.name, given, current_clock())
    standing = PortFaults(port, faults, _families_blocks(port), on_close)
    for fault in faults.faults:
        if KINDS[fault.kind].edge in ("message", "dma") and not standing.sees_the_bus:
            standing.end()
            why = f"what the device sends does not pass through this process on the mount {port.mount}"
            hint = "mock: and vfio-user: devices take it; fail, lost, stuck, flip, req, err and reset work here"
            raise UsageError(f"inject {fault}", device=port.name, why=why, hint=hint)
    return standing


def _follow(standing: PortFaults, device: Device) -> None:
    """Stand before what the device has open already, too."""
    for number, bar in device.open_bars.items():
        standing.add_window(bar.window, number)
    interrupts = made(device, "interrupts")
    if interrupts is not None:
        for fd, (index, _) in interrupts.descriptors().items():
            standing.add_listener(index, fd)


@contextmanager
def inject(device: Device | HasDevice, *faults: str | Fault, warn: bool = True) -> Iterator[Faults]:
    """Inject ``faults`` into an open device, or the device of a driver, while the block runs.

    What already has its registers and windows in hand meets them too. Yields the record: what happened, in words, and
    what did not. ``warn``: FaultWarning where one never happened by the end of a block that raised nothing.

    UsageError for a fault that is none, or cannot be had on this mount. Faults end with the block, or when the device
    closes: a register that read wrong is as the device has it, but a reset or a lost message is not made undone.
    """
    found = device if isinstance(device, Device) else device.device
    standing = begin(found.port, [Fault.parse(one) if isinstance(one, str) else one for one in faults])
    _follow(standing, found)
    try:
        yield standing.faults
    finally:
        standing.end()
    if warn:
        _warn(standing.faults)


def _warn(faults: Faults) -> None:
    if faults.unused:
        warnings.warn(f"{faults.device}: {faults.words_of_unused}", FaultWarning, stacklevel=3)


@contextmanager
def inject_opened(*faults: str | Fault, only: int | None = None) -> Iterator[list[Faults]]:
    """Inject ``faults`` into each device that is opened by name within the block, from its first call on.

    ``only``: the device of this number, from 0; the others' calls are counted. Yields the records, one for each device
    so far. Nothing is warned of: ``Faults.check`` and ``unused`` say it.
    """
    parsed = [Fault.parse(one) if isinstance(one, str) else one for one in faults]
    records: list[Faults] = []
    standing: list[PortFaults] = []

    def before(port: DevicePort) -> Callable[[Device], None]:
        one = begin(port, parsed if only in (None, len(records)) else [])
        standing.append(one)
        records.append(one.faults)
        return lambda device: None

    OPENED.insert(0, before)  # beneath recorders, which see what the driver sees
    try:
        yield records
    finally:
        OPENED.remove(before)
        for one in standing:
            one.end()


def inject_named(port: DevicePort, faults: Iterable[Fault]) -> None:
    """The faults of a device's name: they last until it closes, and what never happened is warned of then."""
    standing: list[PortFaults] = []
    standing.append(begin(port, faults, lambda: _warn(standing[0].faults)))
