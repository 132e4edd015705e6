# SPDX-License-Identifier: Apache-2.0
"""One command proves a machine: what fails is named with the next step, and the machine is left as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from jsonschema import Draft202012Validator

import vfio_ims
from tests.host.box import DSA, Box
from tests.host.fake_kernel import FakeKernel, state
from vfio_ims.cli.output import answer
from vfio_ims.device import Device
from vfio_ims.driver import Driver
from vfio_ims.errors import DeviceError, UsageError
from vfio_ims.host import Binder
from vfio_ims.html import render
from vfio_ims.html.proof import proof_page
from vfio_ims.html.reading import read_runs
from vfio_ims.proof import STAGES, Outcome, Proof, ProofInterrupted, prove
from vfio_ims.schemas import schema
from vfio_ims.selftest import Options

FEW = Options(timeout=2, settle=0.01, slots=8)


def outcomes(proof: Proof) -> dict[str, str]:
    return {stage.name: str(stage.outcome) for stage in proof.stages}


@pytest.mark.parametrize("name", ["minimal", "intel-dsa", "synopsys-edma", "intel-dlb"])
def test_devices_unlike_each_other_pass_in_software(name: str) -> None:
    proof = prove(f"mock:{name}", options=FEW)
    assert proof.verdict == "passed", str(proof)
    said = outcomes(proof)
    assert tuple(said) == STAGES
    assert {said[stage] for stage in ("doctor", "bind", "restore")} == {"not needed"}
    assert {said[stage] for stage in ("open", "loopback", "driver", "IMS self-test", "DMA", "reset")} == {"passed"}
    assert proof.selftest is not None
    assert proof.selftest.slots == 8 or name != "intel-dsa"


def test_what_fails_is_named_with_the_next_step_and_the_rest_goes_on() -> None:
    proof = prove("mock:minimal,defect=ignores-mask", options=FEW)
    assert (proof.verdict, proof.failed and proof.failed.name) == ("failed", "IMS self-test")
    assert proof.failed is not None
    assert "ignores its mask" in proof.failed.text
    assert proof.failed.hint
    assert outcomes(proof)["reset"] == "passed"
    assert not proof.host_not_ready
    assert "ignores its mask" in str(proof)


def test_a_driver_that_does_not_start_ends_it_and_the_device_is_closed() -> None:
    devices: list[Device] = []

    def start(device: Device) -> Driver:
        devices.append(device)
        raise DeviceError("start", device=device.name, why="its firmware does not answer", hint="load it")

    proof = prove("mock:minimal", options=FEW, start=start)
    assert proof.failed is not None
    assert (proof.failed.name, proof.failed.hint) == ("driver", "load it")
    assert outcomes(proof)["IMS self-test"] == "not run"
    assert proof.verdict == "failed"
    assert devices[0].closed


def test_a_device_without_ims_slots_that_fire_is_no_pass() -> None:
    proof = Proof("0000:00:03.0", ())
    assert proof.verdict == "incomplete"


@pytest.mark.parametrize("name", ["nonsense", "mock:minimol", "mock:minimal,iommu=type1", "replay:no-such.jsonl"])
def test_a_name_of_nothing_is_an_error(name: str) -> None:
    with pytest.raises(UsageError):
        prove(name, options=FEW)


def breaking(stage: str) -> Callable[[str], None]:
    def on_stage(name: str) -> None:
        if name == stage:
            raise KeyboardInterrupt

    return on_stage


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_ctrl_c_in_any_stage_leaves_a_report(stage: str) -> None:
    with pytest.raises(ProofInterrupted) as caught:
        prove("mock:minimal", options=FEW, on_stage=breaking(stage))
    proof = caught.value.proof
    assert (proof.interrupted, proof.verdict) == (stage, "interrupted")
    said = outcomes(proof)
    assert said[stage] == "interrupted"
    later = STAGES[STAGES.index(stage) + 1 : -1]
    assert {said[name] for name in later} <= {"not run"}


# --- a machine that is bound and put back, with its kernel played -----------------------------------------------------


@pytest.fixture
def ready(box: Box) -> Box:
    """A DSA that idxd has, on a machine where all else is well."""
    box.healthy()
    box.user(0)
    box.tree.driver("idxd")
    (box.tree.root / f"bus/pci/devices/{DSA}/driver").unlink()
    (box.tree.root / f"bus/pci/drivers/vfio-pci/{DSA}").unlink(missing_ok=True)
    box.tree.link(f"bus/pci/devices/{DSA}/driver", "bus/pci/drivers/idxd")
    box.tree.link(f"bus/pci/drivers/idxd/{DSA}", f"bus/pci/devices/{DSA}")
    return box


def proven(box: Box, **more: Any) -> Proof:
    kernel = FakeKernel(box.machine, deaf=more.pop("deaf", ()))
    binder = Binder(box.machine, writer=kernel)
    return prove(DSA, options=FEW, machine=box.machine, binder=binder, **more)


def no_device(*arguments: object, **more: object) -> NoReturn:
    raise DeviceError("open", device=DSA, why="it is played only")


def model(*arguments: object, **more: object) -> Device:
    return vfio_ims.open("mock:intel-dsa")


def test_a_bound_function_is_put_back_when_it_cannot_be_opened(ready: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfio_ims.proof.device_stages.open_device", no_device)
    before = state(ready.root)
    proof = proven(ready)
    said = outcomes(proof)
    assert (said["doctor"], said["bind"], said["open"], said["restore"]) == ("passed", "passed", "failed", "passed"), (
        str(proof)
    )
    assert state(ready.root) == before
    assert proof.left == ()
    assert proof.before[f"binding of {DSA}"] == proof.after[f"binding of {DSA}"] == "idxd"


def test_a_function_with_an_option_that_is_none_is_put_back(ready: Box) -> None:
    before = state(ready.root)
    binder = Binder(ready.machine, writer=FakeKernel(ready.machine))
    with pytest.raises(UsageError, match="colour"):
        prove(f"{DSA},colour=red", options=FEW, binder=binder, machine=ready.machine)
    assert state(ready.root) == before


def test_all_of_it_on_a_function(ready: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfio_ims.proof.device_stages.open_device", model)
    before = state(ready.root)
    proof = proven(ready)
    assert proof.verdict == "passed", str(proof)
    assert set(outcomes(proof).values()) == {"passed"}
    assert state(ready.root) == before


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "restore"])
def test_ctrl_c_leaves_the_machine_as_it_was(ready: Box, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    monkeypatch.setattr("vfio_ims.proof.device_stages.open_device", model)
    before = state(ready.root)
    with pytest.raises(ProofInterrupted) as caught:
        proven(ready, on_stage=breaking(stage))
    assert state(ready.root) == before
    assert (caught.value.proof.verdict, caught.value.proof.left) == ("interrupted", ())


def test_a_write_that_the_kernel_ignores_fails_the_stage_and_all_is_put_back(ready: Box) -> None:
    before = state(ready.root)
    proof = proven(ready, deaf=("vfio-pci/bind",))
    assert proof.failed is not None
    assert (proof.failed.name, proof.host_not_ready) == ("bind", True)
    assert state(ready.root) == before
    assert proof.left == ()


def test_what_was_bound_by_hand_before_stays_to_be_restored(ready: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two bindings the proof undoes its own: the function was left without a driver, and is so again."""
    monkeypatch.setattr("vfio_ims.proof.device_stages.open_device", model)
    binder = Binder(ready.machine, writer=FakeKernel(ready.machine))
    function = ready.machine.function(DSA)
    assert function is not None
    binder.carry_out(binder.plan_unbind([function]))
    before = state(ready.root)
    proof = proven(ready)
    assert proof.verdict == "passed", str(proof)
    assert state(ready.root) == before
    assert proof.after["to be restored"] == DSA
    assert [one.text for one in binder.restore()] == ["back to idxd"]


def test_a_machine_that_is_not_ready_is_not_touched(box: Box) -> None:
    box.vfio()
    box.user(0)
    box.tree.driver("idxd")
    box.dsa(group=None)
    before = state(box.root)
    proof = proven(box)
    assert proof.failed is not None
    assert (proof.failed.name, proof.host_not_ready) == ("doctor", True)
    assert proof.failed.hint
    assert {name: said for name, said in outcomes(proof).items() if said != "not run"} == {
        "doctor": "failed",
        "restore": "not needed",
    }
    assert state(box.root) == before


# --- the command ------------------------------------------------------------------------------------------------------


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-X", "dev", "-m", "vfio_ims.cli.main", "prove", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def test_the_command_answers_in_json_by_its_schema() -> None:
    done = command("mock:minimal", "--json")
    answer = json.loads(done.stdout)
    Draft202012Validator(schema("prove")).validate(answer)
    envelope = {key: answer[key] for key in ("schema_version", "tool_version", "commit", "time", "kernel")}
    Draft202012Validator(schema("selftest")).validate({"schema": "vfio-ims/selftest", **envelope, **answer["selftest"]})
    assert (done.returncode, answer["verdict"]) == (0, "passed")
    assert "ResourceWarning" not in done.stderr


def test_the_command_ends_as_the_proof_does() -> None:
    failed = command("mock:minimal,defect=ignores-mask")
    assert failed.returncode == 1
    assert failed.stdout.splitlines()[-1].startswith("FAILED in ")
    assert command("ffff:ff:1f.7").returncode == 3
    assert command("nonsense").returncode == 2
    assert command("mock:minimol").returncode == 2


def test_the_words_of_the_schema_are_those_of_the_report() -> None:
    stage = schema("prove")["properties"]["stages"]["items"]["properties"]
    assert set(stage["outcome"]["enum"]) == {outcome.value for outcome in Outcome}
    assert stage["name"]["enum"] == list(STAGES)


def test_the_page_has_its_stages_and_all_of_the_self_test(tmp_path: Path) -> None:
    page = tmp_path / "proof.html"
    done = command("mock:minimal,defect=ignores-mask", "--slots", "4", "--html", str(page))
    assert done.returncode == 1
    text = page.read_text()
    for words in ("Proof of mock:minimal", "What failed", "every slot ignores its mask", "Self-test: Slot map", "<svg"):
        assert words in text
    assert read_runs(page)[0]["verdict"] == "failed", "its self-test can be had again"
    nowhere = command("mock:minimal", "--html", str(tmp_path / "no" / "such.html"))
    assert (nowhere.returncode, nowhere.stdout) == (3, "")


def test_a_page_of_a_machine_that_is_not_ready_has_the_checks_with_their_remedies(box: Box) -> None:
    box.vfio()
    box.user(0)
    box.dsa(driver=None, group=None)
    proof = proven(box)
    text = render(proof_page(answer("prove", proof.to_json())))
    assert "no IOMMU stands in front of it" in text
    assert "Doctor" in text
    assert "slots.js" not in text
