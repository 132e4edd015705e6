# SPDX-License-Identifier: Apache-2.0
"""What the conformance suite is made of: how a breach is worded, and the steps that several checks take."""

from __future__ import annotations

import inspect
import time
from array import array
from collections.abc import Sequence
from types import TracebackType
from weakref import WeakSet

import pytest

from vfio_ims.counted import counted
from vfio_ims.driver import Driver
from vfio_ims.errors import DeviceBusy
from vfio_ims.ims import FireReport, FireStatus, ImsInterrupt, ImsTable
from vfio_ims.interrupts.vector import VectorInterrupt
from vfio_ims.messages import Message, Slot

__all__ = [
    "CALLBACKS",
    "arrives",
    "breach",
    "contract_of",
    "exclusive",
    "fired_alright",
    "fired_slots",
    "neighbours_arrive",
    "nothing",
    "reset_raw",
    "some",
    "start_raw",
    "values",
    "written_at",
]

TIMEOUT = 10.0  # seconds until a driver's first interrupt counts as lost; an emulated machine is slow
BRIEF = 0.5  # seconds for its later ones: it is broken already, and is to be named soon
STOPS = 30.0  # seconds that stop may take on a device which no longer answers
PROMPT = 1.0  # seconds that a callback may take that must not wait

CALLBACKS = (
    "start",
    "ims_table",
    "fire",
    "fired",
    "fire_vector",
    "quiesce",
    "stop",
    "status",
    "fault",
    "firmware",
    "details",
)
"""What a driver's author writes, and the contract has promises about."""


def breach(driver: Driver | type[Driver], callback: str, promise: str, found: str) -> str:
    """What a failed check says."""
    name = driver.__name__ if isinstance(driver, type) else type(driver).__name__
    says = f"{name}.{callback} breaks its contract.\n  promise: {promise}\n  found:   {found}"
    return f"{says}\n  written: {written_at(callback)}"


def written_at(callback: str) -> str:
    """Where the contract of a callback is written: file and line of the installed package, and the reference."""
    place = inspect.getsourcefile(Driver) or "vfio_ims/driver.py"
    promised = getattr(Driver, callback, None)
    if inspect.isfunction(promised):
        place += f":{inspect.getsourcelines(promised)[1]}"
    table = f", of its table at {inspect.getsourcefile(ImsTable)}" if callback == "ims_table" else ""
    return f"at Driver.{callback}, {place}{table}; docs/contract.md"


def contract_of(traceback: TracebackType | None) -> str:
    """Where the contract of the callback is written in which an error was raised; "" where it was raised in none."""
    found = ""
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        driver, name = frame.f_locals.get("self"), frame.f_code.co_name
        if isinstance(driver, Driver) and name in CALLBACKS:
            found = f"raised in {type(driver).__name__}.{name}, whose contract is written\n  {written_at(name)}"
    return found


def some(size: int) -> list[int]:
    """Slots that stand for all: the ends, the middle, neighbours."""
    return sorted({0, 1, size // 2, size - 2, size - 1} & set(range(size)))


_lost: WeakSet[type[Driver]] = WeakSet()
"""Drivers of which an interrupt was lost."""


def arrives(driver: Driver, irq: ImsInterrupt | VectorInterrupt) -> bool:
    """Whether the interrupt comes, and by itself: what is found only when the time is over does not count."""
    timeout, began = BRIEF if type(driver) in _lost else TIMEOUT, time.monotonic()
    arrived = irq.wait(timeout) and time.monotonic() - began < timeout / 2
    if not arrived:
        _lost.add(type(driver))
    return arrived


def fired_alright(driver: Driver, irq: ImsInterrupt, when: str) -> None:
    """Fire an unmasked slot: reported as sent, and received."""
    report = driver.fire(irq.slot)
    promise = "on return the message has left, is pending, or was refused: the report is the device's own word"
    assert isinstance(report, FireReport), breach(driver, "fire", "returns a FireReport", f"{report!r}")
    found = f"slot {irq.slot} is not masked, yet it reported {report} {when}"
    assert report.status is FireStatus.SENT, breach(driver, "fire", promise, found)
    found = f"it reported that slot {irq.slot}'s message was sent, but vector {irq.donor} never saw it, {when}"
    assert arrives(driver, irq), breach(driver, "fire", promise, found)


def values(driver: Driver, table: ImsTable) -> list[Slot]:
    """A value for each of ``some``: all bits that the table says it keeps, and their opposite; harmless if sent."""
    memory, limits = driver.device.dma.allocate(4096).iova, table.limits
    if limits.one_address:
        return [Slot(limits.kept(Message(memory, 0x1111 * n + 1)), masked=table.has_mask) for n in range(5)]
    if not table.has_mask:
        return [Slot(limits.kept(Message(memory + 4 * n, n + 1)), masked=False) for n in range(5)]
    wide = limits.kept(Message(limits.address_mask, (1 << limits.data_bits) - 1))
    few = [limits.kept(Message(memory + 64 * n, n)) for n in range(4)]
    return [Slot(wide), *map(Slot, few)]


def exclusive(driver: Driver, count: int) -> list[ImsInterrupt]:
    """So many slots, each with a donor of its own; skips where the table cannot hold so many vectors' messages."""
    try:
        return [driver.ims.allocate(exclusive=True) for _ in range(count)]
    except DeviceBusy as busy:
        pytest.skip(f"not applicable: this table has no room for {counted(count, 'donor')}: {busy.why}")


def neighbours_arrive(driver: Driver, kept: Sequence[ImsInterrupt], callback: str, done: str) -> None:
    """Fire slots to whose neighbour something was done: each is sent and received, and holds what it held."""
    table, promise = driver.ims.table, "what is done to one slot leaves its neighbours alone"
    for irq in kept:
        irq.wait(0)
        status = driver.fire(irq.slot).status
        expected = driver.ims.expected(irq.slot)
        found = f"slot {irq.slot} fell silent when {done}; it was {expected} and is {table.read(irq.slot)}"
        assert status is FireStatus.SENT, breach(driver, callback, promise, f"{found}; fire says {status}")
        assert arrives(driver, irq), breach(driver, callback, promise, found)
        assert table.read(irq.slot) == expected, breach(driver, callback, promise, found)


def nothing() -> None:
    """The state is reached already."""


def start_raw(driver: Driver) -> None:
    driver.device.config.bus_master = True
    driver.start()


def reset_raw(driver: Driver) -> None:
    start_raw(driver)
    if driver.device.can_reset:
        driver.device.reset()
        driver.device.config.memory = True


def fired_slots(driver: Driver, slots: Sequence[int]) -> list[int]:
    """What ``fired`` says of ``slots``, promptly and of these only."""
    began = time.monotonic()
    answer = driver.fired(array("I", sorted(slots)))
    took = time.monotonic() - began
    if answer is None:
        pytest.skip("not applicable: the driver cannot say which slot fired")
    assert took < PROMPT, breach(driver, "fired", "it must not wait", f"it took {took:.3f} s")
    found = f"asked of {list(slots)} it named {list(answer)}"
    assert set(answer) <= set(slots), breach(driver, "fired", "those of the slots that it was asked of", found)
    return list(answer)
