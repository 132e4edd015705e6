# SPDX-License-Identifier: Apache-2.0
"""Families whose slot tables are unlike each other: the self-test, the behaviour and the conformance suite on each.

One shares an address among all slots, has 16 bits of data and no mask; one has masks and pending bits beside entries of
24 bytes; one keeps its slots in memory and hands them over by a command; one has entries with their own addresses and
no mask; one is two tables, of which one shares an address; the last three have enable bits with registers that set and
clear them, pending bits that a 1 clears, and bits of the other polarity. All in this process and behind a socket.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vfio_ims
from tests.behaviour.common import delivered
from vfio_ims import families
from vfio_ims.driver import Driver, driver_for
from vfio_ims.errors import SetupError, UnsupportedError, UsageError
from vfio_ims.families import load_folder
from vfio_ims.ims import FireReport, FireStatus
from vfio_ims.proof import prove
from vfio_ims.selftest import Kind, Options, Report, check_idle, run
from vfio_ims.testing import silent
from vfio_ims.testing.server import ServedModel

HERE = Path(__file__).parent
LACKS = {
    "shared_address": {"PASIDs", "own words", "masks"},
    "bitmaps": {"PASIDs"},
    "context": {"PASIDs"},
    "maskless": {"PASIDs", "masks"},
    "two_parts": {"PASIDs", "own words", "masks"},
    "invented": {"PASIDs", "own words"},
    "far_apart": {"PASIDs", "own words"},
    "in_memory": {"PASIDs"},
    "set_clear": {"PASIDs"},
    "active_low": {"PASIDs"},
    "pending_cleared": {"PASIDs"},
}
"""Steps of the self-test that a table has nothing for."""
TABLES = tuple(LACKS)
CLEARING = [table for table in TABLES if table not in ("far_apart", "in_memory")]
"""Those where a slot that is given up can take another's message with it: it has an address to clear."""
ONE_DONOR = {"shared_address", "invented"}
"""Under VT-d the one address of all slots fits one donor: the two checks that want several do not apply."""
NO_MEMORY = {"far_apart"}
"""Tables that keep interrupt addresses only."""
FAST = Options(timeout=0.2, settle=0.02)


def model(table: str) -> str:
    return f"test-{table.replace('_', '-')}"


@pytest.fixture(autouse=True)
def own_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders are known in a test only."""
    monkeypatch.setattr(families.private, "_private", [])
    for table in TABLES:
        load_folder(HERE / table)


@pytest.fixture(scope="module", params=TABLES)
def table(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["mock", "vfio-user"])
def name(request: pytest.FixtureRequest, table: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "mock":
        yield f"mock:{model(table)}"
        return
    server = ServedModel(model(table), tmp_path_factory.mktemp(table), [str(HERE / table)])
    yield server.name
    server.close()


# --- the self-test ----------------------------------------------------------------------------------------------------


def test_a_proof_with_it(table: str) -> None:
    proof = prove(f"mock:{model(table)}", options=Options(timeout=1, settle=0.02, slots=4))
    assert proof.verdict == "passed", proof
    lacking = {stage.name for stage in proof.stages if stage.outcome == "not applicable"}
    assert lacking == ({"DMA"} if table in NO_MEMORY else set()), proof


def test_the_whole_self_test(name: str, table: str) -> None:
    with vfio_ims.open_driver(name) as driver:
        report = run(driver)
    assert report.passed, report
    lacking = {each.partition(":")[0] for each in report.not_applicable}
    once = {"DMA word"} if table in NO_MEMORY else set()
    assert lacking - once == {f"{step}{when}" for step in LACKS[table] for when in ("", ", after it")}
    assert once <= lacking
    assert report.counts.fired == report.counts.delivered > 3 * report.slots


def named(report: Report) -> list[Kind]:
    assert not report.passed
    return [finding.kind for finding in report.findings]


@pytest.mark.parametrize("table", CLEARING)
def test_a_table_that_clears_a_neighbour_is_named_by_the_self_test(table: str) -> None:
    # With remapping every message's data is 0, as is that of a slot that was given up.
    with vfio_ims.open_driver(f"mock:{model(table)},defect=clears-neighbour,remapping=no") as driver:
        report = run(driver, options=FAST)
    assert named(report) == [Kind.DISTURBED]
    cleared = "0xfee00000/0x0" if table in ("shared_address", "two_parts", "invented") else "0x0/0x21 (no message)"
    text = report.findings[0].text
    assert f"when a neighbour is closed: slot 0 holds {cleared}" in text
    assert "instead of 0xfee00000/0x21" in text


def test_a_shared_address_that_goes_with_one_slot_is_named_by_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first version's fault: closing one slot zeroed the address of all, and the self-test passed."""
    from vfio_ims.ims.quiesce import Quiescer

    quiet = Quiescer.quiet
    monkeypatch.setattr(Quiescer, "quiet", lambda self, neighbour=None: quiet(self))
    with vfio_ims.open_driver("mock:test-shared-address") as driver:
        report = run(driver, options=FAST)
    assert named(report) == [Kind.DISTURBED]
    assert "falls silent when a neighbour is closed: slot 0 holds 0x1000/0x0 (memory)" in report.findings[0].text


def test_an_engine_that_stops_whole_for_one_slot_is_named_by_the_self_test() -> None:
    """The table is right, and quiescing one slot turns every source off."""
    right: type[Driver] = driver_for(0x1234, 0x5A01)

    class StopsAll(right):  # type: ignore[misc, valid-type]
        off = False

        def quiesce(self, slot: int) -> None:
            super().quiesce(slot)
            self.off = len(self.ims.allocated) > 1

        def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
            return FireReport(FireStatus.SENT) if self.off else super().fire(slot, pasid=pasid)

        def start(self) -> None:
            super().start()
            self.off = False

    with StopsAll.start_on(vfio_ims.open("mock:test-shared-address")) as driver:
        report = run(driver, options=FAST)
    assert Kind.DISTURBED in named(report)


# --- defects ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "defect", "has"),
    [
        ("in_memory", "alias", "drops, forgets, ignores-mask, none, twice"),
        ("context", "odd", "alias, clears-neighbour, drops, forgets, ignores-mask, none, twice"),
        ("shared_address", "ignores-mask", "alias, clears-neighbour, drops, forgets, none, twice"),
        ("bitmaps", "odd", "alias, clears-neighbour, drops, forgets, ignores-mask, none, twice"),
    ],
)
def test_a_defect_that_a_model_cannot_show_is_refused(table: str, defect: str, has: str) -> None:
    with pytest.raises(UsageError, match=f"defect must be one of {has}, not '{defect}'"):
        vfio_ims.open(f"mock:{model(table)},defect={defect}")


# --- behaviour --------------------------------------------------------------------------------------------------------


def test_a_slot_leaves_its_neighbours_alone(name: str) -> None:
    with vfio_ims.open_driver(name) as driver:
        below, middle, above = (driver.ims.allocate(slot=slot) for slot in range(3))
        assert all(delivered(driver, irq) for irq in (below, middle, above))
        middle.close()
        assert all(delivered(driver, irq) for irq in (below, above))
        with driver.ims.allocate(slot=1) as again:
            assert all(delivered(driver, irq) for irq in (again, below, above))
        assert all(entry.in_order for entry in driver.ims.report().slots)


def test_slots_survive_a_reset_and_are_quiet_in_the_end(name: str) -> None:
    with vfio_ims.open_driver(name) as driver:
        with driver.ims.allocate_group(6) as irqs:
            driver.reset()
            for irq in irqs:
                irq.wait(0)
                assert delivered(driver, irq)
        assert check_idle(driver) == ()


def test_masks_hold_interrupts_back(name: str) -> None:
    with vfio_ims.open_driver(name) as driver, driver.ims.allocate() as irq:
        if not driver.ims.table.has_mask:
            with pytest.raises(vfio_ims.errors.UnsupportedError, match="no mask"):
                irq.mask()
            return
        irq.mask()
        report = driver.fire(irq.slot)
        assert irq.pending == driver.ims.table.has_pending
        assert silent(irq)
        irq.unmask()
        if driver.ims.table.has_pending:
            assert irq.wait(30)
        else:
            assert str(report) == "refused (masked, no pending bit)"
            assert silent(irq)
            assert delivered(driver, irq)
        assert not irq.pending


def test_a_polled_slot(name: str, table: str) -> None:
    if table in NO_MEMORY:
        with vfio_ims.open_driver(name) as driver, pytest.raises(UnsupportedError, match="the table would keep 0xfee"):
            driver.ims.allocate_polled()
        return
    with vfio_ims.open_driver(name) as driver, driver.ims.allocate_polled() as polled:
        driver.fire(polled.slot)
        assert polled.poll()
        assert not polled.poll()


@pytest.mark.parametrize("table", ["set_clear", "active_low", "pending_cleared"], scope="function")
def test_the_core_of_the_behavioural_suite(table: str) -> None:
    """That of the plain tables: masks, pending bits, moves between donors, resets."""
    core = [str(HERE.parent / "behaviour" / f"test_{part}.py") for part in ("ims_slots", "ims_sharing", "reset")]
    device = (f"--vfio-driver={HERE / table}", f"--vfio-device=mock:{model(table)}")
    command = [sys.executable, "-m", "pytest", "-q", *core, *device]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=HERE.parents[1])
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 0, done.stdout
    assert re.match(r"5\d passed, 1 skipped", last), last  # one is for a device without a reset


def test_opened_again_and_again(name: str) -> None:
    for _ in range(3):
        with vfio_ims.open_driver(name) as driver, driver.ims.allocate_group(4) as irqs:
            assert all(delivered(driver, irq) for irq in irqs)


# --- conformance ------------------------------------------------------------------------------------------------------


def conform(inner: pytest.Pytester, folder: Path, device: str, *more: str) -> pytest.RunResult:
    suite = ("--pyargs", "vfio_ims.testing.conformance")
    return inner.runpytest(*suite, f"--vfio-driver={folder}", f"--vfio-device={device}", *more)


def test_the_whole_conformance_suite(inner: pytest.Pytester, name: str, table: str) -> None:
    outcomes = conform(inner, HERE / table, name).parseoutcomes()
    assert not {"failed", "errors"} & set(outcomes)
    not_applicable = {"fired", *(LACKS[table] & {"PASIDs", "masks"})}
    assert outcomes["skipped"] <= len(not_applicable) + 2 * (table in ONE_DONOR)
    assert outcomes["passed"] + outcomes["skipped"] >= 24


@pytest.mark.usefixtures("short_timeout")
@pytest.mark.parametrize("table", CLEARING)
def test_a_table_that_clears_a_neighbour_is_named_by_the_conformance_suite(inner: pytest.Pytester, table: str) -> None:
    result = conform(inner, HERE / table, f"mock:{model(table)},defect=clears-neighbour,remapping=no")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(
        ["*ims_table breaks its contract*", "*leaves its neighbours alone*", "*fell silent when slot * was closed*"]
    )


@pytest.mark.usefixtures("short_timeout")
def test_a_shared_address_that_goes_with_one_slot_is_named_by_the_conformance_suite(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vfio_ims.ims.quiesce import Quiescer

    quiet = Quiescer.quiet
    monkeypatch.setattr(Quiescer, "quiet", lambda self, neighbour=None: quiet(self))
    result = conform(inner, HERE / "shared_address", "mock:test-shared-address")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["*leaves its neighbours alone*", "*fell silent when slot * was closed*"])


# --- which driver is tested -------------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a folder with ids of its own, whose model's id was left as it was."""
    monkeypatch.setattr(families.private, "_private", [])
    original = Path(families.__file__).parents[1] / "drivers" / "minimal"
    folder = tmp_path / "copied"
    folder.mkdir()
    for file in original.glob("*.py"):
        (folder / file.name).write_text(file.read_text())
    declared = (folder / "__init__.py").read_text()
    changed = declared.replace('"minimal"', '"copied"').replace("1234:1a55", "1234:2b66")
    (folder / "__init__.py").write_text(changed)
    return folder


def test_a_self_test_of_a_folder_whose_driver_does_not_answer_is_refused(copied: Path) -> None:
    for name in ("mock:copied", "mock:minimal"):
        command = [sys.executable, "-m", "vfio_ims.cli.main", "--driver", str(copied), "selftest", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 3, done.stdout
        assert "PASSED" not in done.stdout
        assert f"test the driver in {copied}: the driver that answered is Minimal in " in done.stderr
        assert "drivers/minimal/driver.py; the folder's ids are 1234:2b66" in done.stderr


def test_a_conformance_run_of_a_folder_whose_driver_does_not_answer_is_refused(
    inner: pytest.Pytester, copied: Path
) -> None:
    result = conform(inner, copied, "mock:copied")
    outcomes = result.parseoutcomes()
    assert outcomes["errors"] > 20
    assert "passed" not in outcomes
    result.stdout.fnmatch_lines([f"*test the driver in {copied}: the driver that answered is Minimal in */minimal/*"])


def test_a_folder_whose_driver_answers_is_tested(copied: Path) -> None:
    model_file = copied / "model.py"
    model_file.write_text(model_file.read_text().replace("1234:1a55", "1234:2b66"))
    family = load_folder(copied)
    with vfio_ims.open_driver("mock:copied") as driver:
        assert isinstance(driver, family.load_driver())
        assert families.not_under_test(type(driver), "mock:copied", [copied]) is None
        assert families.not_under_test(type(driver), "0000:01:00.0", [copied]) is None
        refused = families.not_under_test(type(driver), "mock:minimal")
        assert isinstance(refused, SetupError)
