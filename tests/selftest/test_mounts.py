# SPDX-License-Identifier: Apache-2.0
"""The same self-test on other mounts and devices: in this process, and over a socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vfio_ims
from vfio_ims.drivers.minimal.model import MinimalModel
from vfio_ims.drivers.minimal.registers import Bar0
from vfio_ims.families import family_of_model
from vfio_ims.models import on_write
from vfio_ims.models.options import Value
from vfio_ims.selftest import Counts, Kind, Options, characterise, run
from vfio_ims.vfio_user.server import Server


@pytest.fixture
def socket(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    given: dict[str, Value] = getattr(request, "param", {})
    model = family_of_model("minimal").load_model("minimal")("minimal", **given)
    server = Server(model, str(tmp_path / "minimal.sock"))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield str(tmp_path / "minimal.sock")
    server.close()
    thread.join(5)
    model.close()


def test_over_a_socket(socket: str) -> None:
    with vfio_ims.open_driver(f"vfio-user:{socket}") as driver:
        report = run(driver, options=Options(settle=0.05))
        assert report.passed, str(report)
        assert report.mount == "vfio-user"
        assert report.counts == Counts(fired=176, delivered=176, withheld=32)


@pytest.mark.parametrize("socket", [{"map_slots": True}], indirect=True)
def test_over_a_socket_with_mapped_slots(socket: str) -> None:
    with vfio_ims.open_driver(f"vfio-user:{socket}") as driver:
        report = run(driver, options=Options(settle=0.2))  # the server looks for what is written to mapped memory
        assert report.passed, str(report)
        assert characterise(driver, options=Options(settle=0.02)).slots == 16


def test_mapped_slots_are_written_after_a_reset_that_takes_its_time(tmp_path: Path) -> None:
    """The write that resets is answered at once; what is written through the mapping meanwhile would be wiped."""

    class Slow(MinimalModel):
        @on_write(Bar0.RESET)
        def restart(self, _: int) -> None:
            time.sleep(0.05)
            self.reset()

    path = str(tmp_path / "slow.sock")
    model = Slow("slow", map_slots=True)
    with Server(model, path), vfio_ims.open_driver(f"vfio-user:{path}") as driver, driver.ims.allocate() as irq:
        driver.reset()
        irq.wait(0)
        driver.fire(irq.slot)
        assert irq.wait(2)
    model.close()


@pytest.mark.parametrize("socket", [{"map_slots": True, "defect": "forgets"}], indirect=True)
def test_mapped_slots_that_die_at_a_reset(socket: str) -> None:
    with vfio_ims.open_driver(f"vfio-user:{socket}") as driver:
        report = run(driver, options=Options(timeout=0.5, settle=0.05))
        assert [(each.kind, each.text) for each in report.findings] == [
            (Kind.DEAD_AFTER_RESET, "slots from 8 on are dead after a reset")
        ]


@pytest.mark.parametrize("model", ["intel-dsa", "intel-iaa"])
def test_a_hundred_slots_of_the_accelerators(model: str) -> None:
    with vfio_ims.open_driver(f"mock:{model}") as driver:
        report = run(driver, options=Options(settle=0.005, slots=100))
        assert report.passed, report
        assert (report.slots, report.table, report.donors, report.passes) == (100, 2048, 8, 3)
        # Once 3 x 32 for the neighbours. Of each half:
        # 100 words, 300 over donors, 100 released, 100 with their own PASID.
        assert report.counts == Counts(fired=1296, delivered=1296, withheld=400, refused=200)
        assert report.not_applicable == ()
