# SPDX-License-Identifier: Apache-2.0
"""The page of two self-tests side by side: what differs first, then the same pictures of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.counted import counted
from vfio_ims.html.donors import donor_maps
from vfio_ims.html.elements import badge, findings, join, markup, paragraph, side_by_side, table
from vfio_ims.html.latency import bin_edges, latency_figure, percentile_table
from vfio_ims.html.page import Page, Section
from vfio_ims.html.run import Part, Run
from vfio_ims.html.selftest import COUNTS, conditions, made_by, whole_map
from vfio_ims.html.slot_map import slot_map
from vfio_ims.ranges import spans

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["comparison_page"]

_NAMES = ("left", "right")


def comparison_page(left: Mapping[str, Any], right: Mapping[str, Any]) -> Page:
    """``left``, ``right``: what two runs of ``vfio-ims selftest --json`` printed."""
    runs = Run(left), Run(right)
    devices = {run["device"] for run in runs}
    sections = [
        Section("Verdicts", _verdicts(runs)),
        Section("Slots that differ", _slots(runs)),
        Section("Counts", _counts(runs)),
    ]
    if all(run.samples for run in runs):
        sections.append(Section("Latency", _latency(runs)))
    sections.append(Section("Slot maps", _halves(runs, whole_map)))
    sections.append(Section("Donors", _halves(runs, _donors, "stacked")))
    sections += _parts(runs)
    sections.append(Section("Conditions", _conditions(runs)))
    verdicts = {run["verdict"] for run in runs}
    return Page(
        title=f"Two self-tests of {' and '.join(sorted(devices))}",
        verdict=runs[0]["verdict"] if len(verdicts) == 1 else "",
        summary=f"Left: {_when(runs[0])}. Right: {_when(runs[1])}.",
        sections=sections,
        record=[left, right],
        footer=made_by(runs[1]),
        scripts=["slots.js"] if any(run.parts for run in runs) else [],
    )


def _when(run: Run) -> str:
    return f"{run.name}, {run.record.get('time', 'time not recorded')}"


def _halves(runs: Sequence[Run], make: Callable[[Run], Markup], kind: str = "two") -> Markup:
    halves = [
        markup('<div data-run="{}"><h3>{}</h3>{}</div>', number, name.capitalize(), make(run))
        for number, (name, run) in enumerate(zip(_NAMES, runs, strict=True))
    ]
    return side_by_side(halves, kind)


def _verdicts(runs: Sequence[Run]) -> Markup:
    def one(run: Run) -> Markup:
        found = findings(run.findings) if run.findings else paragraph("No findings.")
        return join([paragraph(badge(run["verdict"])), found])

    return _halves(runs, one)


def _slots(runs: Sequence[Run]) -> Markup:
    """Slots whose results differ, by what they were and are."""
    if not all(run.parts for run in runs):
        return paragraph("Not known: one of the two, or both, has no results by slot.")
    left, right = (run.worst for run in runs)
    by_change: dict[tuple[str, str], list[int]] = {}
    for slot in range(max(len(left), len(right))):
        pair = tuple((some[slot] or "left out") if slot < len(some) else "not tested" for some in (left, right))
        if pair[0] != pair[1]:
            by_change.setdefault((pair[0], pair[1]), []).append(slot)
    if not by_change:
        return paragraph(f"None: all of {counted(len(left), 'slot')} fared alike in both.")
    rows = [(counted(len(slots), "slot"), *pair, ", ".join(spans(slots))) for pair, slots in by_change.items()]
    return table(("", *_NAMES, "which"), rows, text=[3])


def _counts(runs: Sequence[Run]) -> Markup:
    names = ("slots", "donors", "passes", *COUNTS)
    rows: list[Sequence[object]] = []
    for name in names:
        left, right = (run[name] for run in runs)
        rows.append((name, left, right, f"{right - left:+d}" if left != right else ""))
    left, right = (run["seconds"] for run in runs)
    rows.append(("seconds", f"{left:.1f}", f"{right:.1f}", f"{right - left:+.1f}"))
    return table(("", *_NAMES, "difference"), rows, numbers=[1, 2, 3], differ=_differing(rows[:-1]))


def _differing(rows: Sequence[Sequence[object]]) -> list[int]:
    return [place for place, row in enumerate(rows) if row[1] != row[2]]


def _latency(runs: Sequence[Run]) -> Markup:
    """On one axis, so that a shift is seen."""
    edges = bin_edges(*(run.samples for run in runs))
    pictures = _halves(runs, lambda run: latency_figure(run.samples, edges=edges, width=400))
    return join([pictures, percentile_table(dict(zip(_NAMES, (run.samples for run in runs), strict=True)))])


def _donors(run: Run) -> Markup:
    return donor_maps(run.parts, run.slots) or paragraph("no messages went to donors", "note")


def _parts(runs: Sequence[Run]) -> list[Section]:
    """The parts whose results differ, one beside the other."""
    by_title = [{part.title: part for part in run.parts} for run in runs]
    titles = list(dict.fromkeys(title for parts in by_title for title in parts))

    def one(part: Part | None, title: str) -> Markup:
        return paragraph(f"{title}: not run", "note") if part is None else slot_map(part.results, title, small=True)

    shown = []
    for title in titles:
        left, right = (parts.get(title) for parts in by_title)
        if left is None or right is None or left.results != right.results:
            shown.append(side_by_side([one(left, f"Left: {title}"), one(right, f"Right: {title}")], "two"))
    return [Section("Parts that differ", join(shown))] if shown else []


def _conditions(runs: Sequence[Run]) -> Markup:
    left, right = (conditions(run) for run in runs)
    names = list(dict.fromkeys([*left, *right]))
    rows = [(name, left.get(name, ""), right.get(name, "")) for name in names]
    return table(("", *_NAMES), rows, text=[1, 2], differ=_differing(rows))
