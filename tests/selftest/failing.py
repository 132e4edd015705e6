# SPDX-License-Identifier: Apache-2.0
"""A self-test that must fail: of a model that is broken, of a driver, of a table of slots; and what it found."""

from __future__ import annotations

from typing import Any

from tests.selftest.devices import TestedDriver, TestedModel, make_model, open_model
from vfio_ims.models.slot_store import SlotStore
from vfio_ims.selftest import Kind, Options, Report, run

FAST = Options(timeout=0.1, settle=0.01, dwell=0.004)


def failing(kind: type[TestedModel], driver: type[TestedDriver] = TestedDriver, **options: Any) -> Report:
    opened = open_model(kind, driver, **options)
    with opened.driver:
        report = run(opened.driver, options=FAST)
    assert not report.passed
    assert str(report).splitlines()[-1].startswith("FAILED")
    return report


def names(report: Report) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.text) for finding in report.findings]


class WithStore(TestedModel):
    store: type[SlotStore]

    def _slot_store(self, layout: Any) -> SlotStore:
        return self.store(layout, self.send)


def with_store(store: type[SlotStore], slots: int, vectors: int, **layout: Any) -> type[TestedModel]:
    made = make_model(slots, vectors, base=WithStore, **layout)
    made.store = store  # type: ignore[attr-defined]
    return made
