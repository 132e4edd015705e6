# SPDX-License-Identifier: Apache-2.0
"""A self-test's report as OpenHTF's test record."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

import vfio_ims
from vfio_ims import selftest
from vfio_ims.labs.openhtf import main, to_openhtf

RECORD = {
    *("dut_id", "station_id", "start_time_millis", "end_time_millis", "outcome", "outcome_details", "marginal"),
    *("metadata", "code_info", "phases", "subtests", "branches", "diagnosers", "diagnoses", "log_records"),
}
"""The keys that OpenHTF 1.6.3's OutputToJSON wrote of a test of its own."""


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    with vfio_ims.open_driver("mock:minimal") as driver:
        found = dict(selftest.run(driver, options=selftest.Options(slots=2, timeout=30)).to_json())
    return found | {"time": "2026-11-29T13:45:08+00:00"}


def test_a_pass_is_a_record_with_a_phase_for_each_part(
    report: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(report)))
    main(["--station", "rack1", "--dut", "SN17"])
    record = json.loads(capsys.readouterr().out)
    assert set(record) == RECORD
    assert (record["dut_id"], record["station_id"], record["outcome"]) == ("SN17", "rack1", "PASS")
    assert record["end_time_millis"] - record["start_time_millis"] == int(report["seconds"] * 1000)
    phases = {phase["name"]: phase for phase in record["phases"]}
    assert len(phases) == len(report["ladder"]) + len(report["steps"])
    assert phases["masks"]["measurements"]["withheld"]["measured_value"] == 2
    assert phases["masks"]["measurements"]["lost"]["outcome"] == "PASS"
    assert phases["PASIDs"]["outcome"] == "SKIP"
    times = [phase[key] for phase in record["phases"] for key in ("start_time_millis", "end_time_millis")]
    assert times == sorted(times)


def test_a_failure_has_its_findings_and_the_measurement_that_failed(report: dict[str, Any]) -> None:
    steps = [step | {"outcome": "failed", "counts": step["counts"] | {"lost": 1}} for step in report["steps"]]
    failed = report | {"verdict": "failed", "findings": [{"text": "slot 1 was lost"}], "steps": steps}
    record = to_openhtf(failed, station="rack1")
    assert (record["dut_id"], record["outcome"]) == ("mock:minimal", "FAIL")
    assert record["outcome_details"] == [{"code": 1, "description": "slot 1 was lost"}]
    assert record["phases"][-1]["measurements"]["lost"]["outcome"] == "FAIL"


def test_what_is_no_report_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("{}"))
    with pytest.raises(SystemExit, match="2"):
        main(["--station", "rack1"])
    assert "must be the answer of vfio-ims selftest --json" in capsys.readouterr().err
