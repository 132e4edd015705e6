# SPDX-License-Identifier: Apache-2.0
"""The page of a self-test: one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.counted import counted
from vfio_ims.html.donors import donor_maps
from vfio_ims.html.elements import badge, facts, findings, join, markup, outcomes, paragraph, side_by_side, table
from vfio_ims.html.latency import latency_figure, percentile_table
from vfio_ims.html.marks import legend
from vfio_ims.html.page import Page, Section
from vfio_ims.html.run import AFTER, Run
from vfio_ims.html.slot_map import slot_map

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["COUNTS", "conditions", "selftest_page", "selftest_sections", "whole_map"]

COUNTS = ("fired", "delivered", "lost", "duplicated", "misrouted", "withheld", "unexpected", "refused", "refires")

_OLD = "This answer has no results by slot: an earlier version of vfio-ims wrote it."
_GROUPS = (
    (
        "Donor passes",
        ("donor passes",),
        "Every slot with changing donors: the sequence is its own, so that a slot which answers for another shows.",
    ),
    (
        "Masks and pending bits",
        ("masks",),
        "Fired masked: nothing may come, the pending bit must show. Then unmasked: what was held back must come, once.",
    ),
    (
        "PASIDs",
        ("PASIDs",),
        "Work of another PASID raises nothing and is reported as refused; work of its own is delivered.",
    ),
    ("Memory words", ("own words",), "Each slot writes a word of memory of its own, by which it is known."),
    (
        "Neighbours",
        ("neighbours",),
        "What is done to every other slot leaves those between alone. Both ends of the table.",
    ),
)


def selftest_page(record: Mapping[str, Any]) -> Page:
    """``record``: what ``vfio-ims selftest --json`` printed."""
    run = Run(record)
    return Page(
        title=f"Self-test of {run['device']}",
        verdict=run["verdict"],
        summary=summary(run),
        sections=selftest_sections(record),
        record=record,
        footer=made_by(run),
        scripts=["slots.js"] if run.parts else [],
    )


def summary(run: Run) -> str:
    """The run in a sentence."""
    some = f" of {run['table_slots']}" if run["table_slots"] != run.slots else ""
    what = f"{counted(run.slots, 'slot')}{some}, {counted(run['donors'], 'donor')}, {counted(run['passes'], 'pass')}"
    faults = [f"{run[name]} {name}" for name in ("lost", "duplicated", "misrouted", "unexpected") if run[name]]
    became = ", ".join(faults) if faults else "none lost, duplicated, misrouted or unexpected"
    return f"{what}: {counted(run['fired'], 'fire')}, {run['delivered']} delivered, {became}; {run['seconds']:.1f} s."


def made_by(run: Run) -> str:
    commit = f", commit {run['commit'][:12]}" if run.record.get("commit") else ""
    return f"vfio-ims {run['tool_version']}{commit}. The answer itself is kept in this file: vfio-ims report reads it."


def selftest_sections(record: Mapping[str, Any]) -> list[Section]:
    """All that a run has to show, what matters most first."""
    run = Run(record)
    sections = []
    if run.findings:
        sections.append(Section("Findings", findings(run.findings)))
    sections.append(Section("Ladder", _ladder(run)))
    sections.append(Section("Slot map", whole_map(run)))
    by_donor = donor_maps(run.parts, run.slots)
    if by_donor is not None:
        sections.append(Section("Donors", by_donor))
    if run.samples:
        sections.append(
            Section("Latency", join([latency_figure(run.samples), percentile_table({"this run": run.samples})]))
        )
    sections += _groups(run)
    if any(step["name"] == "reset" for step in run["steps"]):
        sections.append(Section("Reset", _reset(run)))
    sections.append(Section("Steps", _steps(run)))
    sections.append(Section("Conditions", facts(conditions(run))))
    sections.append(Section("What to read next", _next(run)))
    return sections


def _ladder(run: Run) -> Markup:
    rungs = run["ladder"]
    shown = outcomes((rung["name"], rung["outcome"], rung["text"]) for rung in rungs)
    broken = [facts({"device status": rung["status"], "next": rung["hint"]}) for rung in rungs if rung["hint"]]
    return join([paragraph("Each rung needs those above it.", "note"), shown, *broken])


def whole_map(run: Run) -> Markup:
    """The worst of every slot, what the marks mean, and a look-up of one slot."""
    if not run.parts:
        return paragraph("No slot was fired." if run.keeps_slots else _OLD, "note")
    words = {str(result) for part in run.parts for result in part.results if result is not None}
    return join([slot_map(run.worst, "The worst of all steps"), legend(words), _one_slot(run)])


def _one_slot(run: Run) -> Markup:
    """What became of one slot, once ``slots.js`` runs."""
    return markup(
        '<div class="one-slot" hidden><label>Slot <input type="number" min="0" max="{}" value="0"></label> '
        '<span class="note">or point at a cell of any map</span><ul aria-live="polite"></ul></div>',
        run.slots - 1,
    )


def _groups(run: Run) -> list[Section]:
    found = []
    for title, steps, text in _GROUPS:
        parts = [part for part in run.parts if part.step.removesuffix(AFTER) in steps]
        why = [
            f"{step['outcome'].capitalize()}: {step['text']}"
            for step in run["steps"]
            if step["name"] in steps and step["outcome"] in ("not applicable", "not run")
        ]
        if parts:
            maps = side_by_side([slot_map(part.results, part.title, small=True) for part in parts], "small")
            found.append(Section(title, join([paragraph(text, "note"), maps])))
        elif why:
            found.append(Section(title, paragraph(why[0])))
    return found


def _reset(run: Run) -> Markup:
    """The steps that ran before it and again after it, side by side."""
    steps = {step["name"]: step for step in run["steps"]}
    step = steps["reset"]
    shown = [outcomes([("reset", step["outcome"], step["text"])])]
    woken = [part for part in run.parts if part.step == "reset"]
    shown += [side_by_side([slot_map(part.results, "owners", small=True) for part in woken], "small")] if woken else []
    rows: list[Sequence[object]] = []
    differ: list[int] = []
    for name, before in steps.items():
        after = steps.get(name + AFTER)
        if after is not None:
            if before["outcome"] != after["outcome"]:
                differ.append(len(rows))
            rows.append((name, badge(before["outcome"]), _faults(before), badge(after["outcome"]), _faults(after)))
    header = ("step", "before", "", "after", "")
    return join([*shown, table(header, rows, text=[2, 4], differ=differ)] if rows else shown)


def _faults(step: Mapping[str, Any]) -> str:
    counts = step["counts"]
    wrong = [f"{counts[name]} {name}" for name in ("lost", "duplicated", "misrouted", "unexpected") if counts[name]]
    return f"{counts['fired']} fired, " + (", ".join(wrong) or "all sound") if counts["fired"] else step["text"]


def _steps(run: Run) -> Markup:
    counts = [name for name in COUNTS if run[name] or name in ("fired", "delivered", "lost")]
    rows: list[Sequence[object]] = [
        (
            step["name"],
            badge(step["outcome"]),
            *(step["counts"][name] or "" for name in counts),
            f"{step['seconds']:.2f} s",
            step["text"],
        )
        for step in run["steps"]
    ]
    if not rows:
        return paragraph("None ran: the ladder did not hold.")
    rows.append(("all", "", *(run[name] for name in counts), f"{run['seconds']:.2f} s", ""))
    header = ("step", "", *counts, "time", "")
    return table(header, rows, numbers=range(2, len(counts) + 3), text=[len(counts) + 3])


def conditions(run: Run) -> dict[str, object]:
    """What was tested, by what, on what, with which options."""
    known = {name.replace("_", " "): text for name, text in run.record.get("conditions", {}).items() if text}
    options = run.record.get("options", {})
    given = ", ".join(f"{name} {_option(value)}" for name, value in options.items())
    return {
        "device": run["device"],
        "driver": run["driver"],
        "mount": run["mount"],
        **known,
        "kernel": run.record.get("kernel", "not recorded"),
        "time": run.record.get("time", "not recorded"),
        "vfio-ims": f"{run['tool_version']}, commit {run.record.get('commit') or 'not known'}",
        "options": given or "not recorded",
        "lost after": f"{run['timeout_s']:g} s",
        "nothing more comes after": f"{run['settle_s']:.3g} s",
    }


def _option(value: object) -> str:
    return (
        {True: "yes", False: "no", None: "by default"}.get(value, str(value))
        if isinstance(value, (bool, type(None)))
        else str(value)
    )


def _next(run: Run) -> Markup:
    device = run["device"]
    lines = [("every link of the chain with its evidence", f"vfio-ims show {device} --live")]
    if run["verdict"] != "passed":
        lines.append(
            ("every access of the device, to look into a failure", f"vfio-ims selftest {device} --trace run.jsonl")
        )
    lines += [
        ("this run beside another", "vfio-ims report THIS.html OTHER.html --html both.html"),
        ("what the words mean", "docs/json.md and docs/ims.md of vfio-ims"),
    ]
    return facts({what: markup("<code>{}</code>", command) for what, command in lines})
