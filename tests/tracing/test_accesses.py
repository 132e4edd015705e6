# SPDX-License-Identifier: Apache-2.0
"""The assertion on the exact accesses of a piece of a driver, and the side effects that recordings mark."""

from __future__ import annotations

import json
from io import StringIO

import pytest

import vfio_ims
from vfio_ims.drivers.minimal.registers import Bar0
from vfio_ims.errors import UsageError
from vfio_ims.registers import Block, Register, bit
from vfio_ims.testing.accesses import expect_accesses, record_accesses
from vfio_ims.tracing.names import RegisterNames


def test_the_exact_accesses_pass() -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        bar = driver.device.bar(0)
        expected = """
            write32 FIRE = 0x63
            read32 STATUS = 0x2
            read32 ID
            read32 ID
            read32 slot[0].low
            read32 slot[0].high
            write32 slot[1].data = 0x5
            config read16 +0x4
        """
        with expect_accesses(driver, expected):
            bar.write32(Bar0.FIRE.offset, 99)
            bar.read32(Bar0.STATUS.offset)
            bar.read32(Bar0.ID.offset)
            bar.read32(Bar0.ID.offset)
            bar.read_block(0x1000, 2)
            bar.write32(0x1018, 5)
            assert driver.device.config.memory


@pytest.mark.parametrize(
    ("expected", "marked"),
    [
        ("read32 STATUS\nread32 ID", ["- read32 ID = 0x494d5331", "+ read32 ID = 0x494d5331"]),  # another order
        ("read32 ID", ["+ read32 STATUS = 0x0"]),  # one more than expected
        ("read32 ID\nread32 STATUS\nread32 STATUS", ["- read32 STATUS = 0x0"]),  # one fewer
        ("read32 ID = 0x1\nread32 STATUS", ["- read32 ID = 0x1", "+ read32 ID = 0x494d5331"]),  # another value
        ("read64 ID\nread32 STATUS", ["- read64 ID", "+ read32 ID = 0x494d5331"]),  # another width
    ],
)
def test_what_differs_is_marked(expected: str, marked: list[str]) -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        bar = driver.device.bar(0)
        with pytest.raises(AssertionError) as caught, expect_accesses(driver, expected):
            bar.read32(Bar0.ID.offset)
            bar.read32(Bar0.STATUS.offset)
    shown = [line for line in str(caught.value).splitlines()[1:] if line[0] in "+-"]
    assert sorted(shown) == sorted(marked)


def test_the_accesses_of_a_fire_are_one_write_and_the_answer() -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        irq = driver.ims.allocate()
        with record_accesses(driver) as found:
            driver.fire(irq.slot)
    assert found.lines == [f"write32 FIRE = {irq.slot:#x}", "read32 STATUS = 0x0"]


class Effects(Block):
    CAUSE = Register(0x0, on_read="clears", done=bit(0))
    QUEUE = Register(0x4, on_read="pops")
    ERRORS = Register(0x8, access="rw1c", parity=bit(0), other=bit(1, "rw"))


def test_declared_side_effects_are_marked() -> None:
    names = RegisterNames({0: Effects})

    def effect(offset: int, value: int, written: bool) -> object:
        return (names.describe(0, offset, 4, value, written) or {}).get("effect")

    assert effect(0, 1, False) == "the read clears it"
    assert effect(4, 1, False) == "the read pops an entry"
    assert effect(8, 3, True) == "clears 0x1"
    assert effect(8, 2, True) is None
    assert effect(8, 3, False) is None
    with pytest.raises(UsageError, match="on_read"):
        Register(0, on_read="explodes")  # type: ignore[arg-type]


def test_a_recording_carries_the_effect() -> None:
    class Kept(StringIO):
        def close(self) -> None:
            pass

    file = Kept()
    with vfio_ims.open_driver("mock:intel-dsa") as driver:
        from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0 as Dsa

        with vfio_ims.trace(driver, file):
            driver.device.bar(0).bind(Dsa).INTCAUSE.write(1)
    (written,) = [one for one in map(json.loads, file.getvalue().splitlines()[1:]) if one["k"] == "w"]
    assert written["effect"] == "clears 0x1"
