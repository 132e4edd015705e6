# SPDX-License-Identifier: Apache-2.0
"""A self-test's report as a test record of OpenHTF, in the form of its ``OutputToJSON`` (read off version 1.6.3).

``vfio-ims selftest DEVICE --json | python -m vfio_ims.labs.openhtf --station LAB > record.json``
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vfio_ims.labs.standard_streams import convert

__all__ = ["to_openhtf"]

_TEST = {"passed": "PASS", "failed": "FAIL", "interrupted": "ABORTED"}
_PHASE = {"passed": "PASS", "failed": "FAIL", "not applicable": "SKIP", "not run": "SKIP", "interrupted": "ERROR"}
_MUST_BE_ZERO = ("lost", "misrouted", "duplicated", "unexpected")
_CONDITIONS = ("kernel", "commit", "driver", "mount", "slots", "donors", "conditions")


def to_openhtf(report: Mapping[str, Any], *, station: str, dut: str = "") -> dict[str, Any]:
    """A phase for each rung and step, whose counts are its measurements; the findings are the outcome's details.

    ``report``: the answer of ``selftest --json``. ``station``: OpenHTF's station_id. ``dut``: the serial number of the
    device under test; its name in the report without one. OpenHTF has no outcome "not run": such a phase is a SKIP.
    """
    end = int(datetime.fromisoformat(report["time"]).timestamp() * 1000)
    at = start = end - int(report["seconds"] * 1000)
    phases = []
    for part in [*report["ladder"], *report["steps"]]:
        began, at = at, at + int(part.get("seconds", 0) * 1000)
        phases.append(_phase(part, began, at))
    return {
        "dut_id": dut or report["device"],
        "station_id": station,
        "start_time_millis": start,
        "end_time_millis": end,
        "outcome": _TEST[report["verdict"]],
        "outcome_details": [
            {"code": number, "description": finding["text"]} for number, finding in enumerate(report["findings"], 1)
        ],
        "marginal": False,
        "metadata": {
            "test_name": "vfio-ims selftest",
            "config": {"station_id": station},
            "vfio_ims": {key: report[key] for key in _CONDITIONS if key in report},
        },
        "code_info": _code("vfio_ims.selftest"),
        "phases": phases,
        **{name: [] for name in ("subtests", "branches", "diagnosers", "diagnoses", "log_records")},
    }


def _phase(part: Mapping[str, Any], start: int, end: int) -> dict[str, Any]:
    return {
        "name": part["name"],
        "codeinfo": _code(part["name"], part["text"]),
        "start_time_millis": start,
        "end_time_millis": end,
        "outcome": _PHASE[part["outcome"]],
        "marginal": False,
        "measurements": {name: _measurement(name, count) for name, count in part.get("counts", {}).items()},
        "attachments": {},
    }


def _measurement(name: str, count: int) -> dict[str, Any]:
    measured: dict[str, Any] = {"name": name, "outcome": "PASS", "measured_value": count}
    if name in _MUST_BE_ZERO:
        measured |= {"validators": ["x == 0"], "outcome": "PASS" if count == 0 else "FAIL"}
    return measured


def _code(name: str, text: str | None = None) -> dict[str, Any]:
    return {"name": name, "docstring": text or None, "sourcecode": ""}


def main(arguments: Sequence[str] | None = None) -> None:
    """Standard input to standard output."""
    parser = argparse.ArgumentParser(prog="python -m vfio_ims.labs.openhtf", description="selftest --json for OpenHTF")
    parser.add_argument("--station", required=True, help="OpenHTF's station_id")
    parser.add_argument("--dut", default="", help="serial number of the device under test; default: its name")
    given = parser.parse_args(arguments)
    convert(parser, lambda report: to_openhtf(report, station=given.station, dut=given.dut))


if __name__ == "__main__":
    main()
