# SPDX-License-Identifier: Apache-2.0
"""The conformance suite, on drivers that are wrong on purpose: each breach is found and named."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

RIGHT = """
import time
from dataclasses import replace
from vfio_ims.drivers.minimal.driver import Minimal
from vfio_ims.drivers.minimal.model import MinimalModel
from vfio_ims.drivers.minimal.registers import SLOTS
from vfio_ims.ims import FireReport, FireStatus, SlotArray
from vfio_ims.messages import MessageLimits

class Model(MinimalModel):
    id = "abcd:0002"

class Wrong(Minimal):
    pass
"""

FAMILY = """
from vfio_ims.families import Family
family = Family("wrong", ids=["abcd:0002"], driver="driver:Wrong", models={"wrong": "driver:Model"})
"""


def folder(directory: Path, body: str, family: str = FAMILY) -> Path:
    made = directory / "wrong"
    made.mkdir()
    (made / "__init__.py").write_text(family)
    (made / "driver.py").write_text(RIGHT.rstrip().removesuffix("pass") + (body.strip() or "pass") + "\n")
    return made


def conform(inner: pytest.Pytester, *arguments: str, device: str = "mock:wrong") -> pytest.RunResult:
    return inner.runpytest(
        "--pyargs", "vfio_ims.testing.conformance", "--vfio-driver", "wrong", "--vfio-device", device, *arguments
    )


def test_a_right_driver_passes(inner: pytest.Pytester) -> None:
    folder(inner.path, "")
    result = conform(inner)
    outcomes = result.parseoutcomes()
    assert outcomes.pop("skipped") == 2, "no PASID, no source"
    assert not {"failed", "errors"} & set(outcomes)


WRONG = {
    "says sent, sends nothing": (
        "def fire(self, slot, *, pasid=None): return FireReport(FireStatus.SENT)",
        "test_fire_raises_any_slot",
        "Wrong.fire breaks*it reported that slot 0's message was sent, but vector 0 never saw it*",
    ),
    "returns nothing": (
        "def fire(self, slot, *, pasid=None): super().fire(slot)",
        "test_fire_raises_any_slot",
        "Wrong.fire breaks*returns a FireReport*None*",
    ),
    "fires twice": (
        "def fire(self, slot, *, pasid=None): super().fire(slot); return super().fire(slot)",
        "test_fire_raises_once",
        "Wrong.fire breaks*raises the slot once*one fire of slot 0 gave 2 events*",
    ),
    "unmasks": (
        """def fire(self, slot, *, pasid=None):
        table = self.ims_table(); table.write_control(slot, table.read(slot).with_mask(False))
        return super().fire(slot)""",
        "test_fire_of_a_masked_slot_is_pending",
        "Wrong.fire breaks*a masked slot is not raised*the report is sent*",
    ),
    "fires the neighbour": (
        "def fire(self, slot, *, pasid=None): return super().fire(slot ^ 1)",
        "test_fire_raises_no_other_slot",
        "Wrong.fire breaks*",
    ),
    "crashes on no slot": (
        "def fire(self, slot, *, pasid=None): [0] * 16 + [][slot]",
        "test_fire_outside_the_table_is_refused",
        "Wrong.fire breaks*no such slot: a refusal, or UsageError*fire(16) gave IndexError*",
    ),
    "fires at start": (
        "def start(self):\n        super().start(); self.regs.FIRE_VECTOR.write(0)",
        "test_start_raises_nothing",
        "Wrong.start breaks*has raised none*vector 0 was raised*",
    ),
    "masters no bus": (
        "def start(self):\n        super().start(); self.device.config.bus_master = False",
        "test_start_raises_nothing",
        "Wrong.start breaks*bus mastering is off*",
    ),
    "starts once": (
        "def start(self):\n        assert not hasattr(self, 'up'); self.up = True; super().start()",
        "test_start_works_from_any_state",
        "Wrong.start breaks*brings the device up from any state*after start it raised AssertionError*",
    ),
    "finds its table at start": (
        """def start(self):
        super().start(); self.table = SlotArray(self.device, SLOTS)
    def ims_table(self): return self.table""",
        "test_the_table_is_found_before",
        "Wrong.ims_table breaks*works before start*has no attribute 'table'*",
    ),
    "clears its table": (
        "def ims_table(self):\n        self.regs.RESET.write(1); return super().ims_table()",
        "test_finding_the_table_changes_nothing",
        "Wrong.ims_table breaks*changes nothing*slots changed*",
    ),
    "has entries that overlap": (
        "def ims_table(self): return SlotArray(self.device, replace(SLOTS, low=4, high=0))",
        "test_fire_raises_any_slot",
        "Wrong.fire breaks*",
    ),
    "has more slots than the device": (
        "def ims_table(self): return SlotArray(self.device, replace(SLOTS, count=24))",
        "test_the_table_keeps_what_is_written",
        "Wrong.ims_table breaks*an entry reads back as it was written*after write, slot 2? reads*",
    ),
    "declares more data than the device keeps": (
        """pass

narrow = replace(SLOTS, limits=MessageLimits(data_bits=12))
Model.bars = {0: replace(MinimalModel.bars[0], slots=narrow)}""",
        "test_the_limits",
        "Wrong.ims_table breaks*of data 0xffffffff slot 0 keeps 0xfff, and limits.data_bits=32 says 0xffffffff*",
    ),
    "declares less data than the device keeps": (
        """def ims_table(self):
        return SlotArray(self.device, replace(SLOTS, limits=MessageLimits(data_bits=16)))""",
        "test_the_limits",
        "Wrong.ims_table breaks*of data 0xffffffff slot 0 keeps 0xffffffff, and limits.data_bits=16 says 0xffff*",
    ),
    "declares more address than the device keeps": (
        """pass

narrow = replace(SLOTS, limits=MessageLimits(address_mask=0xFFFFC, address_fixed=0xFEE00000))
Model.bars = {0: replace(MinimalModel.bars[0], slots=narrow)}""",
        "test_the_limits",
        "Wrong.ims_table breaks*address 0xfffffffffffffffc slot 0 keeps 0xfeeffffc, and*say 0xfffffffffffffffc*",
    ),
    "declares less address than the device keeps": (
        """def ims_table(self):
        return SlotArray(self.device, replace(SLOTS, limits=MessageLimits(address_mask=0xFFFF_FFFC)))""",
        "test_the_limits",
        "Wrong.ims_table breaks*slot 0 keeps 0xfffffffffffffffc, and limits.address_mask=0xfffffffc*say 0xfffffffc*",
    ),
    "reserves everything": (
        "reserved_vectors = (0, 1, 2, 3)",
        "test_reserved_vectors",
        "Wrong.reserved_vectors breaks*none is left to be a donor*",
    ),
    "reserves what is not there": (
        "reserved_vectors = (0, 9)",
        "test_reserved_vectors",
        "Wrong.reserved_vectors breaks*the device has 4, and ?9? are listed*",
    ),
    "stops only what it started": (
        "def start(self):\n        super().start(); self.up = True\n    def stop(self): del self.up",
        "test_stop_works_from_any_state",
        "Wrong.stop breaks*from any state*before any start it raised AttributeError*",
    ),
    "names slots that it was not asked of": (
        "def fired(self, slots): return [*slots, 15]",
        "test_a_slot_that_fired_is_reported",
        "Wrong.fired breaks*those of the slots that it was asked of*asked of ?0, 1, 2, 3? it named ?0, 1, 2, 3, 15?*",
    ),
    "names slots before any fire": (
        "def fired(self, slots): return slots",
        "test_a_slot_that_fired_is_reported",
        "Wrong.fired breaks*named before any fire*",
    ),
    "forgets slots that it was not asked of": (
        """last = ()
    def fire(self, slot, *, pasid=None):
        self.last = (*self.last, slot); return super().fire(slot)
    def fired(self, slots):
        last, self.last = self.last, (); return [slot for slot in slots if slot in last]""",
        "test_a_slot_that_fired_is_reported",
        "Wrong.fired breaks*also when it was not asked of at first*asked of ?0, 1, 2, 3? then, it named ??",
    ),
    "waits in fired": (
        "def fired(self, slots): time.sleep(1.3); return []",
        "test_a_slot_that_fired_is_reported",
        "Wrong.fired breaks*it must not wait*it took *",
    ),
    "quiesces once": (
        "def quiesce(self, slot):\n        del self.once\n    once = 1",
        "test_a_quiesced_slot",
        "Wrong.quiesce breaks*it may be idle*it raised AttributeError*",
    ),
    "is never content": (
        "def status(self): return 'lunch'",
        "test_status",
        "Wrong.status breaks*where all is well*'lunch'*",
    ),
}


@pytest.mark.usefixtures("short_timeout")
@pytest.mark.parametrize("wrong", WRONG)
def test_a_breach_is_named(inner: pytest.Pytester, wrong: str) -> None:
    body, test, says = WRONG[wrong]
    folder(inner.path, body)
    result = conform(inner, "-k", test, device="mock:wrong,merge=never")
    assert result.parseoutcomes()["failed"] == 1
    text = " ".join(line.removeprefix("E").strip() for line in result.outlines)
    pytest.LineMatcher([text]).fnmatch_lines([f"*{says}*"])
    pytest.LineMatcher([text]).fnmatch_lines(["*written: at Driver.*driver.py*docs/contract.md*"])


def test_a_driver_that_loses_every_interrupt_is_waited_for_once(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of the whole suite ends soon: after the first loss the others are not waited for so long."""
    from vfio_ims.ims import ImsInterrupt

    contract = import_module("vfio_ims.testing.contract")
    monkeypatch.setattr(contract, "TIMEOUT", 0.5)
    monkeypatch.setattr(contract, "BRIEF", 0.125)
    lost: list[float] = []
    wait = ImsInterrupt.wait

    def watched(irq: ImsInterrupt, timeout: float | None = None) -> bool:
        arrived = wait(irq, timeout)
        if not arrived and timeout is not None and timeout >= contract.BRIEF:
            lost.append(timeout)
        return arrived

    monkeypatch.setattr(ImsInterrupt, "wait", watched)
    folder(inner.path, WRONG["says sent, sends nothing"][0])
    assert conform(inner).parseoutcomes()["failed"] > 8
    assert lost[0] == 0.5
    assert len(lost) > 5
    assert set(lost[1:]) == {0.125}


HANGS = {
    "stop": (
        """def stop(self):
        while True:
            try: time.sleep(0.01)
            except Exception: pass""",
        "test_fire_raises_once",
        {"passed": 2, "errors": 1},  # the check passes, closing the device does not
    ),
    "start": (
        "def start(self):\n        import threading; threading.Event().wait()",
        "test_fire_raises_once",
        {"passed": 1, "errors": 1},
    ),
    "fire": (
        """def fire(self, slot, *, pasid=None):
        import threading
        if threading.current_thread() is not threading.main_thread(): threading.Event().wait()
        return super().fire(slot)""",
        "test_several_threads",
        {"passed": 1, "failed": 1},
    ),
}


@pytest.mark.parametrize("callback", HANGS)
def test_a_callback_that_never_returns_is_named_and_the_run_goes_on(inner: pytest.Pytester, callback: str) -> None:
    body, test, outcomes = HANGS[callback]
    folder(inner.path, body)
    # In a process of its own: pytest-timeout may run in this one, and one limit leaves the other's alone.
    suite = ("--pyargs", "vfio_ims.testing.conformance", "--vfio-driver=wrong", "--vfio-device=mock:wrong")
    chosen = ("-k", f"{test} or test_the_family", "--vfio-check-limit=0.5")
    result = inner.runpytest_subprocess(*suite, *chosen, timeout=60)
    found = result.parseoutcomes()
    assert {name: count for name, count in found.items() if name in ("passed", "failed", "errors")} == outcomes
    text = " ".join(line.removeprefix("E").strip() for line in result.outlines)
    says = f"Wrong.{callback} breaks*promise: it returns*it was still at driver.py:*when the check was 0.5 s old*"
    pytest.LineMatcher([text]).fnmatch_lines([f"*{says}written: at Driver.{callback}, *docs/contract.md*"])


@pytest.mark.timeout(0)  # its own limit would be left alone
def test_no_limit_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    limit = import_module("vfio_ims.testing.time_limit")
    with limit.time_limit(0):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with limit.time_limit(60):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 50
        with limit.time_limit(1):  # another's limit is left alone
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 50
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_an_error_that_a_callback_raises_comes_with_its_contract(inner: pytest.Pytester) -> None:
    folder(inner.path, "def fire(self, slot, *, pasid=None): return self.regs.NOTHING.read()")
    result = conform(inner, "-k", "test_fire_raises_once")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["raised in Wrong.fire, whose contract is written", "  at Driver.fire, *docs/contract.md"]
    )


def test_a_driver_that_needs_its_model_is_found(inner: pytest.Pytester) -> None:
    made = folder(inner.path, "", FAMILY.replace("driver:Model", "model:Model"))
    (made / "model.py").write_text((made / "driver.py").read_text())
    (made / "helper.py").write_text("from .model import Model\n")
    (made / "driver.py").write_text("from . import helper\n" + (made / "driver.py").read_text())
    result = conform(inner, "-k", "family")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*family wrong: the driver must not import the model: driver -> helper -> model*"])


def test_a_family_that_misdeclares_its_ids_is_found(inner: pytest.Pytester) -> None:
    folder(inner.path, "", FAMILY.replace('["abcd:0002"]', '["abcd:0002", "ABCD:0003"]'))
    result = conform(inner, "-k", "family")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*its ids must be as lspci -n prints them, such as '1234:1a55' *, not 'ABCD:0003'*"])
