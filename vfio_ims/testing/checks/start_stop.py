# SPDX-License-Identifier: Apache-2.0
"""``start``, ``stop`` and resets, from any state."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest

from vfio_ims.device import Device
from vfio_ims.driver import Driver
from vfio_ims.errors import DeviceBusy, DeviceError, DeviceTimeout
from vfio_ims.testing import contract
from vfio_ims.testing.contract import breach, fired_alright, nothing, reset_raw, start_raw
from vfio_ims.testing.silence import silent


def test_start_raises_nothing_and_leaves_the_bus_mastered(kind: type[Driver], vfio_device: Device) -> None:
    free = [vector for vector in range(vfio_device.interrupts.msix.count) if vector not in kind.reserved_vectors]
    vectors = [vfio_device.interrupts.open_msix(vector) for vector in free[:4]]
    promise = "on return it can take work and raise any slot, and has raised none; bus mastering is on"
    with kind.start_on(vfio_device) as driver:
        assert vfio_device.config.bus_master, breach(driver, "start", promise, "bus mastering is off")
        for vector in vectors:
            assert silent(vector), breach(driver, "start", promise, f"vector {vector.vector} was raised")


def test_start_works_from_any_state(ims_driver: Driver) -> None:
    def stop_twice() -> None:
        ims_driver.stop()
        ims_driver.stop()

    states: dict[str, Callable[[], object]] = {
        "after start": nothing,
        "after stop": ims_driver.stop,
        "after stop, twice": stop_twice,
        "after a fire": lambda: ims_driver.fire(0),
    }
    promise = "brings the device up from any state"
    for state, reach in states.items():
        reach()
        try:
            ims_driver.start()
        except Exception as error:  # noqa: BLE001
            pytest.fail(breach(ims_driver, "start", promise, f"{state} it raised {error!r}"))
        ims_driver.ims.resync()
        with ims_driver.ims.allocate() as irq:
            fired_alright(ims_driver, irq, f"after a start {state}")


def test_stop_works_from_any_state(idle: Driver) -> None:
    promise = "leaves the device disabled, from any state"
    states: dict[str, Callable[[], object]] = {
        "before any start": nothing,
        "after start": lambda: start_raw(idle),
        "a second time": nothing,
        "after a function reset": lambda: reset_raw(idle),
    }
    for state, reach in states.items():
        reach()
        try:
            idle.stop()
        except Exception as error:  # noqa: BLE001
            pytest.fail(breach(idle, "stop", promise, f"{state} it raised {error!r}"))


def test_stop_ends_on_a_device_that_no_longer_answers(ims_driver: Driver) -> None:
    if ims_driver.device.mount not in ("mock", "vfio-user"):
        pytest.skip("only a model can be made to stop answering and be used again")
    ims_driver.device.config.memory = False
    began = time.monotonic()
    try:
        with contextlib.suppress(DeviceError, DeviceTimeout):
            ims_driver.stop()
    except Exception as error:  # noqa: BLE001
        promise = "works on a device that no longer answers: returns, or raises DeviceError or DeviceTimeout"
        pytest.fail(breach(ims_driver, "stop", promise, f"it raised {error!r}"))
    finally:
        ims_driver.device.config.memory = True
    assert time.monotonic() - began < contract.STOPS, breach(ims_driver, "stop", "ends", "it waited too long")


def test_reset_keeps_the_interrupts(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    irqs = [domain.allocate()]
    with contextlib.suppress(DeviceBusy):  # a table of one address may hold one donor's message only
        irqs.append(domain.allocate(exclusive=True))
    masked = domain.allocate(masked=True) if domain.table.has_mask else None
    ims_driver.reset()
    for irq in irqs:
        irq.wait(0)  # every waiter is woken once
        fired_alright(ims_driver, irq, "after a reset")
    wrong = [str(slot) for slot in domain.report().slots if not slot.in_order]
    assert not wrong, breach(ims_driver, "start", "after a reset slots can be written again", "; ".join(wrong))
    if masked is not None:
        masked.wait(0)
        found = f"slot {masked.slot} was masked before the reset, and its interrupt came"
        ims_driver.fire(masked.slot)
        assert silent(masked), breach(ims_driver, "start", "masks written after a reset hold", found)
