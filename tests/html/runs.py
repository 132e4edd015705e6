# SPDX-License-Identifier: Apache-2.0
"""Results of self-tests as JSON has them, made up: no device is run."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from vfio_ims.provenance import provenance
from vfio_ims.ranges import spans

COUNTS = ("fired", "delivered", "lost", "duplicated", "misrouted", "withheld", "unexpected", "refused", "refires")


def column(slots: int, part: str, *, lost: Set[int] = frozenset(), step: str = "donor passes") -> dict[str, Any]:
    """Slots over four donors, of which some lost their message."""
    results = {"delivered": spans(set(range(slots)) - lost), "lost": spans(lost)}
    return {
        "step": step,
        "part": part,
        "results": {result: ranges for result, ranges in results.items() if ranges},
        "vectors": [slot % 4 for slot in range(slots)],
        "astray": [],
    }


def made_run(slots: int = 16, lost: Set[int] = frozenset(), **more: Any) -> dict[str, Any]:
    """The answer of ``vfio-ims selftest --json`` of a device that loses what ``lost`` fire in the second pass."""
    counts = dict.fromkeys(COUNTS, 0) | {"fired": 2 * slots, "delivered": 2 * slots - len(lost), "lost": len(lost)}
    outcome = "failed" if lost else "passed"
    step = {"name": "donor passes", "outcome": outcome, "counts": counts, "seconds": 0.25, "text": ""}
    rung = {"name": "verdict", "outcome": "passed", "text": "IMS usable", "status": "", "hint": ""}
    finding = {"kind": "drops messages", "text": "drops messages", "slots": spans(lost), "status": "", "hint": "look"}
    samples = [30.0 + number for number in range(slots)]
    return {
        "schema": "vfio-ims/selftest",
        "schema_version": "1.1",
        **provenance(),
        "device": "mock:made",
        "mount": "mock",
        "driver": "Made",
        "verdict": outcome,
        "slots": slots,
        "table_slots": slots,
        "donors": 4,
        "passes": 2,
        "timeout_s": 1.0,
        "settle_s": 0.01,
        **counts,
        "latency": {"count": slots, "p50_us": 30.0, "p99_us": 30.0, "max_us": 30.0, "samples_us": samples},
        "ladder": [rung],
        "steps": [step],
        "findings": [finding] if lost else [],
        "not_applicable": [],
        "quiet": True,
        "not_quiet": [],
        "seconds": 0.5,
        "options": {"timeout": 1.0, "settle": None},
        "conditions": {"id": "1234:5678"},
        "slot_results": [column(slots, "pass 1"), column(slots, "pass 2", lost=lost)],
    } | more
