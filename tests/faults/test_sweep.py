# SPDX-License-Identifier: Apache-2.0
"""Every call through the seam fails once: nothing leaks, and the device is left quiet.

The model has no function reset, so that closing does not hide a slot that was left behind.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.descriptors import Descriptors
from vfio_ims.device import Device
from vfio_ims.errors import ClosedError, VfioImsError
from vfio_ims.families import family_of_model
from vfio_ims.faults import Fault, Faults
from vfio_ims.faults.injecting import begin
from vfio_ims.names import open_port

NAMES = ["mock:minimal,flr=no", "mock:minimal,flr=no,map_slots=yes", "mock:intel-dsa,flr=no"]


def main_job(name: str, faults: list[Fault], records: list[Faults], models: list[Any]) -> None:
    """Open, allocate, fire, wait, mask, poll, reset, close. Adds the model to ``models``, to look at what is left."""
    port: Any = open_port(name)
    model = port.link.model
    models.append(model)
    record = begin(port, faults).faults
    records.append(record)
    try:
        device = Device(port)
    except VfioImsError:
        port.close()
        raise
    driver_class = family_of_model(name.split(":")[1].split(",")[0]).load_driver(model.id)
    with driver_class.start_on(device) as driver, driver.ims.allocate() as single:
        driver.fire(single.slot)
        single.wait(timeout=1)
        with driver.ims.allocate_group(6) as group:
            driver.fire(group[5].slot)
            group[5].wait(timeout=1)
            group[2].mask()
            driver.fire(group[2].slot)
            assert group[2].pending or record.happened
            driver.reset()
        with driver.ims.allocate_polled() as polled:
            driver.fire(polled.slot)
            polled.poll()


def leftovers(model: Any) -> str:
    """What the device could still do: a slot that is unmasked and has a message, while it may write."""
    if not model.config.bus_master:
        return ""
    for index in range(model.slots.layout.count):
        slot = model.slots.slot(index)
        if slot.message and not slot.masked:
            return f"slot {index} still holds {slot}"
    return ""


@pytest.fixture
def descriptors() -> Iterator[None]:
    before = Descriptors()
    yield
    assert not before.left()


def points(name: str) -> int:
    records: list[Faults] = []
    main_job(name, [], records, [])
    return records[0].calls


def sweep(name: str, *, onwards: bool) -> list[str]:
    """Run the main job once for each call of it; returns what was wrong."""
    wrong = []
    number = points(name)
    step = 1 if number < 300 else number // 40  # large devices: a sample
    for fail_at in range(1, number + 1, step):
        records: list[Faults] = []
        seen: list[Any] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                main_job(name, [Fault.parse(f"fail:any@{fail_at}{'+' if onwards else ''}")], records, seen)
        except ClosedError as error:
            wrong.append(f"{records[0]}: reported as {error!r}")
        except VfioImsError:
            pass
        assert records[0].happened
        for model in seen:
            if leftovers(model):
                wrong.append(f"{records[0]}: {leftovers(model)}")
    return wrong


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("onwards", [False, True], ids=["once", "lost for good"])
def test_every_failure_point(name: str, onwards: bool, descriptors: None) -> None:
    assert sweep(name, onwards=onwards) == []
