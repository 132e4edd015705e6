# SPDX-License-Identifier: Apache-2.0
"""jumpstarter's in-process server with our driver and client: what crosses is what a test needs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import pytest

jumpstarter = pytest.importorskip(
    "jumpstarter.common.utils",
    reason="jumpstarter is not installed: .ci/setup dev, or pip install 'vfio-ims[jumpstarter]'",
)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    from vfio_ims.labs.jumpstarter.driver import VfioModel

    with jumpstarter.serve(VfioModel(model="minimal")) as found:
        yield found


def test_registers_cross_as_they_are(client: Any) -> None:
    assert client.info()["id"] == "1234:1a55"
    assert client.batch([("read", 7, 0, 2), ("read", 7, 2, 2)]) == [0x1234, 0x1A55]
    place = 0x1000 + 4  # the second word of the first slot
    client.write(0, place, 4, 0xFEDCBA98)
    assert client.read(0, place, 4) == 0xFEDCBA98
    client.reset()
    assert client.read(0, place, 4) == 0


def test_a_self_test_is_one_call(client: Any) -> None:
    report = client.selftest({"slots": 4, "reset": False, "timeout": 30})
    assert report["findings"] == []
    assert report["fired"] == report["delivered"] > 0


def test_what_is_no_access_is_refused_in_words(client: Any) -> None:
    with pytest.raises(Exception, match="an operation must be read, write or poll"):
        client.batch([("peek", 0, 0, 4)])


def test_interrupts_are_a_stream(client: Any) -> None:
    from vfio_ims.drivers.minimal.registers import Bar0

    client.listen(0)
    assert not client.wait_interrupt(0, 0.05)
    client.write(0, Bar0.FIRE_VECTOR.offset, 4, 0)
    assert list(client.interrupts(0, 0.3)) == [True]


def test_the_drivers_are_found_by_their_entry_points() -> None:
    names = {found.name: found.value for found in entry_points(group="jumpstarter.drivers")}
    assert names["VfioFunction"] == "vfio_ims.labs.jumpstarter.driver:VfioFunction"
