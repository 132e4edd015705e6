# SPDX-License-Identifier: Apache-2.0
"""The minimal example's defects: each is found and named, with its slots, and with nothing else."""

from __future__ import annotations

import pytest

import vfio_ims
from tests.selftest.failing import FAST, names
from vfio_ims.selftest import Kind, Outcome, run


@pytest.mark.usefixtures("echoes")
@pytest.mark.parametrize(
    ("defect", "kind", "text"),
    [
        ("alias", Kind.ALIAS, "slots 8-15 alias slots 0-7"),
        ("ignores-mask", Kind.IGNORES_MASK, "every slot ignores its mask"),
        ("twice", Kind.TWICE, "every slot fires twice"),
        ("drops", Kind.DROPS, "drops messages: 11 of 176 lost, "),
        ("clears-neighbour", Kind.DISTURBED, "slots 0, 2, 4, 6, 8, 10, 12, 14 fall silent when a neighbour is closed"),
        ("forgets", Kind.DEAD_AFTER_RESET, "slots from 8 on are dead after a reset: entries do not keep what is writ"),
    ],
)
def test_the_broken_examples_are_named(defect: str, kind: Kind, text: str) -> None:
    with vfio_ims.open_driver(f"mock:minimal,defect={defect}") as driver:
        report = run(driver, options=FAST)
        assert report.verdict == "failed"
        assert report.broken_rung is None
        ((found, said),) = names(report)
        assert found is kind
        assert said.startswith(text)
        counts = report.counts
        assert counts.fired == counts.delivered + counts.lost + counts.misrouted
        faulty = {"alias": "misrouted", "ignores-mask": "unexpected", "twice": "duplicated"}.get(defect, "lost")
        for name in ("misrouted", "unexpected", "duplicated", "lost"):
            assert (getattr(counts, name) > 0) == (name == faulty), name
        assert not report.quiet
        assert report.to_json()["findings"][0]["kind"] == kind.value  # type: ignore[index]


def test_every_count_of_an_alias() -> None:
    with vfio_ims.open_driver("mock:minimal,defect=alias") as driver:
        counts = run(driver, options=FAST).counts
    # Words: the lower eight write the upper eight's. Pass 1 pairs i and i + 8 with different donors, pass 0 does not.
    assert (counts.fired, counts.delivered, counts.misrouted, counts.lost) == (48, 32, 16, 0)


def test_every_count_of_a_blind_mask_and_of_lost_slots() -> None:
    with vfio_ims.open_driver("mock:minimal,defect=ignores-mask") as driver:
        counts = run(driver, options=FAST).counts
    assert (counts.fired, counts.delivered, counts.withheld, counts.unexpected) == (144, 144, 0, 32)
    with vfio_ims.open_driver("mock:minimal,defect=forgets") as driver:
        report = run(driver, options=FAST)
    assert report.counts.lost == 16  # the upper half in both passes after the reset; later steps leave it out
    assert report.findings[0].slots == tuple(range(8, 16))
    assert "8 entries do not read back as they were written again" in str(report)
    assert [step.name for step in report.steps if step.outcome is Outcome.FAILED] == ["reset", "donor passes, after it"]
