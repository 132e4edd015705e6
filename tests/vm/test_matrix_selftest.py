# SPDX-License-Identifier: Apache-2.0
"""The self-test of every model against a real kernel's VFIO, by both of its interfaces, as a user runs it.

All 2048 slots are fired once in the gate, of a table that the guest maps, and not again after a reset; elsewhere a part
of the table shows the same: which interface, which model, which way to the slots, and what a reset leaves. All of each
with VFIO_IMS_FULL=1 (.ci/nightly).
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.vm.served import Done, Lab

SLOTS = {"dsa": 2048, "mapped": 2048, "iaa": 512, "minimal": 16, "dlb": 160}
FULL = os.environ.get("VFIO_IMS_FULL") == "1"
FIRED = SLOTS if FULL else SLOTS | {"dsa": 64, "iaa": 64}
"""How many slots of each the self-test fires."""
WITHOUT_RESET = frozenset() if FULL else frozenset({"mapped"})
"""Those that are not fired all over again after a reset."""
SECONDS = 1500
"""The most that an interface's runs may take: generous, for a machine that does other things too."""
pytestmark = pytest.mark.timeout(2 * SECONDS + 300)
_EVERYWHERE = ("iaa", "minimal", "dlb") if FULL else ("iaa", "minimal")  # in the gate test_dlb.py runs the DLB's
RUNS = {"type1": ("dsa", *_EVERYWHERE), "iommufd": ("mapped", *_EVERYWHERE)}


@pytest.fixture(scope="module")
def lab(shared_lab: Lab) -> Lab:
    return shared_lab


@pytest.fixture(scope="module")
def ran(lab: Lab) -> dict[str, dict[str, Done]]:
    """What became of each, by interface and model."""
    return {}


def selftest(lab: Lab, ran: dict[str, dict[str, Done]], interface: str) -> dict[str, Done]:
    """Two at a time: while one guest processor waits for a model, the other works."""
    if interface not in ran:
        names = RUNS[interface]
        commands = [
            [
                *("vfio-ims", "selftest", lab[name], "--iommu", interface, "--timeout", "20", "--json"),
                *([] if FIRED[name] == SLOTS[name] else ["--slots", str(FIRED[name])]),
                *(["--no-reset"] if name in WITHOUT_RESET else []),
            ]
            for name in names
        ]
        ran[interface] = dict(zip(names, lab.run_all(commands, timeout=SECONDS), strict=True))
    return ran[interface]


def summary(report: dict[str, Any]) -> str:
    """What there is to know of a self-test in the test's output."""
    counts = ("slots", "fired", "delivered", "lost", "duplicated", "misrouted", "withheld", "unexpected", "refused")
    lines = [", ".join(f"{report[name]} {name}" for name in counts)]
    lines += [
        f"  {step['name']}: {step['outcome']}, {step['seconds']:.1f} s, {step['text']}" for step in report["steps"]
    ]
    return "\n".join([*lines, f"  latency {report['latency']}", f"  {report['seconds']:.1f} s in all"])


@pytest.mark.parametrize(("interface", "model"), [(interface, name) for interface in RUNS for name in RUNS[interface]])
def test_every_fire_of_every_slot_is_delivered(
    lab: Lab, ran: dict[str, dict[str, Done]], interface: str, model: str
) -> None:
    report = selftest(lab, ran, interface)[model].check().json
    print(f"{report['device']} ({model}, {report['mount']}):", summary(report))
    assert report["verdict"] == "passed"
    assert report["slots"] == FIRED[model]
    assert report["table_slots"] == SLOTS[model]
    rounds = 1 if model in WITHOUT_RESET else 2
    assert report["delivered"] == report["fired"] >= 4 * rounds * report["slots"]
    assert report["withheld"] >= rounds * report["slots"]
    assert all(report[name] == 0 for name in ("lost", "duplicated", "misrouted", "unexpected"))
    assert report["quiet"]
    assert not report["findings"]
    assert {rung["outcome"] for rung in report["ladder"]} == {"passed"}
    steps = {step["name"]: step for step in report["steps"]}
    assert ("function reset" if rounds == 2 else "left out as asked") in steps["reset"]["text"]
    if model in ("minimal", "dlb"):
        assert {name for name, step in steps.items() if step["outcome"] != "passed"} == {"PASIDs", "PASIDs, after it"}
        assert len(report["not_applicable"]) == 2
    else:
        left_out = {"reset"} if rounds == 1 else set()
        assert {name for name, step in steps.items() if step["outcome"] != "passed"} == left_out
        assert report["withheld"] == 2 * rounds * report["slots"]
