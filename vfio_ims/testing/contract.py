# SPDX-License-Identifier: Apache-2.0
"""What the conformance suite is made of: how a breach is worded, and the steps that several checks take."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence

import pytest

from vfio_ims.driver import Driver
from vfio_ims.ims import FireReport, FireStatus, ImsInterrupt, ImsTable
from vfio_ims.messages import Message, Slot

__all__ = ["arrives", "breach", "fired_alright", "nothing", "reset_raw", "some", "start_raw", "told", "values"]

PATIENCE = 30.0  # seconds until an interrupt counts as lost; an emulated machine is slow
PROMPT = 0.2  # seconds that a callback may take that must not wait


def breach(driver: Driver | type[Driver], callback: str, promise: str, found: str) -> str:
    """What a failed check says."""
    name = driver.__name__ if isinstance(driver, type) else type(driver).__name__
    return f"{name}.{callback} breaks its contract.\n  promise: {promise}\n  found:   {found}"


def some(size: int) -> list[int]:
    """Slots that stand for all: the ends, the middle, neighbours."""
    return sorted({0, 1, size // 2, size - 2, size - 1} & set(range(size)))


def arrives(irq: ImsInterrupt) -> bool:
    began = time.monotonic()
    return irq.wait(PATIENCE) and time.monotonic() - began < PATIENCE / 2


def fired_alright(driver: Driver, irq: ImsInterrupt, when: str) -> None:
    """Fire an unmasked slot: reported as sent, and received."""
    report = driver.fire(irq.slot)
    promise = "on return the message has left, is pending, or was refused: the report is the device's own word"
    assert isinstance(report, FireReport), breach(driver, "fire", "returns a FireReport", f"{report!r}")
    found = f"slot {irq.slot} is not masked, yet it reported {report} {when}"
    assert report.status is FireStatus.SENT, breach(driver, "fire", promise, found)
    found = f"it reported that slot {irq.slot}'s message was sent, but vector {irq.donor} never saw it, {when}"
    assert arrives(irq), breach(driver, "fire", promise, found)


def values(driver: Driver, table: ImsTable) -> list[Slot]:
    """A value for each of ``some``: all bits that the table says it keeps, and their opposite; harmless if sent."""
    memory = driver.device.dma.allocate(4096).iova
    if not table.has_mask:
        return [Slot(Message(memory + 4 * n, n + 1), masked=False) for n in range(5)]
    limits = table.limits
    wide = Message(limits.address_mask | limits.address_fixed, (1 << limits.data_bits) - 1)
    if limits.one_address:
        return [Slot(Message(memory, 0x11 * n)) for n in range(5)]
    few = [Message((memory + 64 * n) & limits.address_mask | limits.address_fixed, n) for n in range(4)]
    return [Slot(wide), *map(Slot, few)]


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


def told(driver: Driver, slots: Sequence[int]) -> list[int]:
    """What ``fired`` says of ``slots``, promptly and of these only."""
    began = time.monotonic()
    answer = driver.fired(array("I", slots))
    took = time.monotonic() - began
    if answer is None:
        pytest.skip("not applicable: the driver cannot tell which slot fired")
    assert took < PROMPT, breach(driver, "fired", "it must not wait", f"it took {took:.3f} s")
    found = f"asked of {list(slots)} it told {list(answer)}"
    assert set(answer) <= set(slots), breach(driver, "fired", "those of the slots that it was asked of", found)
    return list(answer)
