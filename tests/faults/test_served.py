# SPDX-License-Identifier: Apache-2.0
"""Faults of a model that is served: they meet every client, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vfio_ims
from vfio_ims.driver import Driver
from vfio_ims.errors import SetupError
from vfio_ims.testing import silent
from vfio_ims.testing.server import ServedModel


@contextmanager
def served(model: str, directory: Path) -> Iterator[Driver]:
    server = ServedModel(model, directory)
    try:
        with vfio_ims.open_driver(server.name) as driver:
            yield driver
    finally:
        server.close()


def test_a_message_is_dropped_and_a_register_reads_wrong(tmp_path: Path) -> None:
    with served("minimal,fault=drop+stuck:STATUS.bad_slot:0+flip:ID:1@3", tmp_path) as driver:
        with driver.ims.allocate() as irq:
            driver.fire(irq.slot)
            assert silent(irq)
            driver.fire(irq.slot)
            assert irq.wait(timeout=10)
        assert {driver.device.bar(0).read32(0) for _ in range(3)} == {0x494D_5331, 0x494D_5330}


def test_an_event_of_the_host(tmp_path: Path) -> None:
    with (
        served("minimal,fault=req@read=STATUS@2", tmp_path) as driver,
        driver.device.interrupts.open_req() as event,
        driver.ims.allocate() as irq,
    ):
        assert silent(event)
        driver.fire(irq.slot)  # reads STATUS, as the driver's start did
        assert event.wait(timeout=10)


def test_what_only_a_kernel_does_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="a device fails no call"):
        ServedModel("minimal,fault=fail:reset", tmp_path)
