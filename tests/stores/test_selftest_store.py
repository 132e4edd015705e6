# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims selftest --store``: a device without a driver is tested as far as its description goes, and no further."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import vfio_ims
from tests.stores.test_store_file import TABLE
from tests.tables.active_low.registers import SLOTS as ACTIVE_LOW
from tests.tables.bitmaps.registers import SLOTS as BITMAPS
from tests.tables.far_apart.registers import PLAIN
from tests.tables.invented.registers import SLOTS as INVENTED
from tests.tables.maskless.registers import SLOTS as MASKLESS
from tests.tables.pending_cleared.registers import SLOTS as CLEARED
from tests.tables.set_clear.registers import SLOTS as SET_CLEAR
from tests.tables.shared_address.registers import SLOTS as SHARED
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.cli.main import cli
from vfio_ims.device import Device
from vfio_ims.drivers.minimal.model import MinimalModel
from vfio_ims.errors import UsageError, VfioImsError
from vfio_ims.host.table_check import check_table
from vfio_ims.platform import Platform
from vfio_ims.registers import SlotLayout
from vfio_ims.stores import read_store, store_driver
from vfio_ims.stores.file import parse_store

HERE = Path(__file__).parent
MINIMAL = TABLE + "[fire]\nbar = 0\noffset = 8\n"
PLAIN_16 = SlotLayout(bar=0, offset=0x1000, count=16)


def selftest(device: str, file: Path, *more: str) -> Result:
    command = ["selftest", device, "--store", str(file), *more]
    return CliRunner().invoke(cli, command, standalone_mode=False)


@pytest.fixture
def described(tmp_path: Path) -> Path:
    return tmp_path / "store.toml"


@pytest.mark.parametrize("name", ["invented", "far_apart", "in_memory", "set_clear"])
def test_a_whole_self_test_of_a_described_device(name: str) -> None:
    done = selftest(f"mock:test-{name.replace('_', '-')}", HERE / f"{name}.toml")
    assert done.return_value == 0, done.output
    assert "PASSED" in done.output
    assert "FAIL" not in done.output


def test_what_is_not_described_is_not_done_and_said(described: Path) -> None:
    described.write_text(TABLE)
    done = selftest("mock:minimal", described)
    assert done.return_value == 0
    assert "entries: 16 of them, each its own" in done.output
    assert "not described: which write raises a slot (fire): no slot is fired" in done.output
    assert "not described: which write resets the device (reset)" in done.output
    assert "PASSED" not in done.output
    found = json.loads(selftest("mock:minimal", described, "--json").output)
    assert [finding["good"] for finding in found["findings"]] == [True] * 5
    assert len(found["unknown"]) == 4
    driver = store_driver(read_store(described)).open("mock:minimal")
    with driver, pytest.raises(VfioImsError, match="its store's description does not say how"):
        driver.fire(0)


def test_a_described_doorbell_makes_it_the_whole_self_test(described: Path) -> None:
    described.write_text(MINIMAL)
    done = selftest("mock:minimal", described, "--no-reset")
    assert done.return_value == 0, done.output
    assert "PASSED" in done.output
    assert done.output.count("not described:") == 3


def test_a_wrong_count_is_found_before_a_slot_is_fired(described: Path) -> None:
    described.write_text(MINIMAL.replace("count = 16", "count = 32"))
    done = selftest("mock:minimal", described)
    assert done.return_value == 1
    assert "FAIL  entries" in done.output


def test_another_device_is_not_written_to(described: Path) -> None:
    described.write_text(MINIMAL + "[identity]\nbar = 0\noffset = 0\nvalue = 0x1234\n")
    written: list[int] = []

    class Watched(MinimalModel):
        def write(self, region: int, offset: int, data: bytes) -> None:
            written.extend([offset] if region == 0 else [])
            super().write(region, offset, data)

    device = Device(SoftwareDevice(InProcessLink(Watched()), Platform(), "mock:watched"))
    with pytest.raises(VfioImsError, match="BAR 0 reads 0x494d5331 at 0x0"):
        store_driver(read_store(described)).start_on(device)
    assert not written
    done = selftest("mock:minimal", described)
    assert "BAR 0 reads 0x494d5331 at 0x0" in str(done.exception)
    assert "keep what is written" not in done.output


@pytest.mark.parametrize(
    ("model", "layout"),
    [
        ("minimal", PLAIN_16),
        ("test-bitmaps", BITMAPS),
        ("test-invented", INVENTED),
        ("test-shared-address", SHARED),
        ("test-maskless", MASKLESS),
        ("test-far-apart", PLAIN),
        ("test-set-clear", SET_CLEAR),
        ("test-active-low", ACTIVE_LOW),
        ("test-pending-cleared", CLEARED),
    ],
)
def test_a_table_is_where_it_was_declared(model: str, layout: SlotLayout) -> None:
    with vfio_ims.open(f"mock:{model}") as device:
        wrong = [str(finding) for finding in check_table(device, layout) if not finding.good]
        assert not wrong
        bar = device.bar(layout.bar)
        if layout.mask is not None and layout.control is not None and layout.masked_when:
            assert layout.is_masked(bar.read32(layout.at(3) + layout.control))
        assert not layout.data_bits.get(bar.read32(layout.at(2) + layout.data & ~3))


@pytest.mark.parametrize(
    ("model", "layout"),
    [
        ("minimal", replace(PLAIN_16, count=24)),
        ("minimal", replace(PLAIN_16, stride=32)),
        ("minimal", replace(PLAIN_16, offset=0)),
        ("minimal", replace(PLAIN_16, mask=5)),
        ("test-bitmaps", replace(BITMAPS, mask_bitmap=0x1A00)),
        ("test-invented", replace(INVENTED, shared_address=(0x60, 0x64))),
        ("test-invented", replace(INVENTED, data=12)),
        ("test-shared-address", replace(SHARED, count=16)),
        ("test-far-apart", replace(PLAIN, stride=0x800)),
        ("test-set-clear", replace(SET_CLEAR, mask_set=0x1810, mask_clear=0x1800)),
        ("test-set-clear", replace(SET_CLEAR, mask_set=None, mask_clear=None)),
        ("test-active-low", replace(ACTIVE_LOW, mask_set=0x1800, mask_clear=0x1820)),
    ],
)
def test_a_wrong_table_is_found_out(model: str, layout: SlotLayout) -> None:
    with vfio_ims.open(f"mock:{model}") as device:
        assert not all(finding.good for finding in check_table(device, layout))


def test_a_table_beyond_its_bar() -> None:
    with vfio_ims.open("mock:minimal") as device, pytest.raises(UsageError, match="would end at 0x40f0"):
        check_table(device, replace(PLAIN_16, offset=0x3FF0))


def test_qats_store_is_described_and_leaves_open_what_no_source_says() -> None:
    store = read_store(HERE.parents[1] / "examples" / "qat_gen4.toml")
    assert store.count == 64
    assert store.tables[0].at(63) == 0x41_03F0
    assert store.arm is not None
    assert store.arm.access(2) == (0x20_2004, 0)
    assert "unproven" in store.title
    assert len(store.sources) >= 4
    assert any("(fire)" in one for one in store.unknown())


def test_a_description_needs_no_pending_bit() -> None:
    store = parse_store(TABLE + 'pending = "none"')
    assert any("no pending bit" in one for one in store.unknown())
