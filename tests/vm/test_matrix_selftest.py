# SPDX-License-Identifier: Apache-2.0
"""The self-test of every model against a real kernel's VFIO, by both of its interfaces, as a user runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL
from tests.vm.served import Done, Lab, bench

# Two at a time: while one guest processor waits for a model, the other works.
MODELS = {"dsa": "intel-dsa", "mapped": "intel-dsa,map_slots=yes", "iaa": "intel-iaa", "minimal": "minimal"}
SLOTS = {"dsa": 2048, "mapped": 2048, "minimal": 16}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need_vm()
    with bench(INTEL, **MODELS) as booted:
        yield booted


@pytest.fixture(scope="module", params=["type1", "iommufd"])
def ran(lab: Lab, request: pytest.FixtureRequest) -> dict[str, Done]:
    """What became of each, by model."""
    commands = [
        ["vfio-ims", "selftest", lab[name], "--iommu", request.param, "--timeout", "20", "--json"] for name in MODELS
    ]
    return dict(zip(MODELS, lab.run_all(commands, timeout=900), strict=True))


def told(report: dict[str, Any]) -> str:
    """What there is to know of a self-test in the test's output."""
    counts = ("slots", "fired", "delivered", "lost", "duplicated", "misrouted", "withheld", "unexpected", "refused")
    lines = [", ".join(f"{report[name]} {name}" for name in counts)]
    lines += [
        f"  {step['name']}: {step['outcome']}, {step['seconds']:.1f} s, {step['text']}" for step in report["steps"]
    ]
    return "\n".join([*lines, f"  latency {report['latency']}", f"  {report['seconds']:.1f} s in all"])


@pytest.mark.parametrize("model", MODELS)
def test_every_fire_of_every_slot_is_delivered(ran: dict[str, Done], model: str) -> None:
    report = ran[model].check().json
    print(f"{report['device']} ({model}, {report['mount']}):", told(report))
    assert report["verdict"] == "passed"
    assert report["slots"] == report["table_slots"] == SLOTS.get(model, report["slots"])
    assert report["delivered"] == report["fired"] >= 8 * report["slots"]
    assert report["withheld"] >= 2 * report["slots"]
    assert all(report[name] == 0 for name in ("lost", "duplicated", "misrouted", "unexpected"))
    assert report["quiet"]
    assert not report["findings"]
    assert {rung["outcome"] for rung in report["ladder"]} == {"passed"}
    steps = {step["name"]: step for step in report["steps"]}
    assert "function reset" in steps["reset"]["text"]
    if model == "minimal":
        assert {name for name, step in steps.items() if step["outcome"] != "passed"} == {"PASIDs", "PASIDs, after it"}
        assert len(report["not_applicable"]) == 2
    else:
        assert {step["outcome"] for step in steps.values()} == {"passed"}
        assert report["withheld"] == 4 * report["slots"]
