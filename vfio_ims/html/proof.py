# SPDX-License-Identifier: Apache-2.0
"""The page of a proof: its stages, what is left on the machine, the doctor's checks, and all of its self-test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.counted import counted
from vfio_ims.html.elements import badge, facts, findings, join, markup, paragraph, table
from vfio_ims.html.page import Page, Section
from vfio_ims.html.selftest import selftest_sections
from vfio_ims.schemas import ENVELOPE

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["proof_page"]


def proof_page(record: Mapping[str, Any]) -> Page:
    """``record``: what ``vfio-ims prove --json`` printed."""
    stages = record["stages"]
    failed = [stage for stage in stages if stage["outcome"] == "failed"]
    sections = []
    if failed or record["machine"]["left"]:
        sections.append(Section("What failed", _failures(failed, record["machine"]["left"])))
    sections += [Section("Stages", _stages(stages)), Section("The machine, before and after", _machine(record))]
    if record["checks"]:
        sections.append(Section("Doctor", _checks(record["checks"])))
    selftest = None
    if record["selftest"] is not None:
        begins = {name: record[name] for name in ENVELOPE} | {"schema": "vfio-ims/selftest"}
        selftest = begins | record["selftest"]
        sections += [Section(f"Self-test: {one.title}", one.body) for one in selftest_sections(selftest)]
    passed = sum(stage["outcome"] == "passed" for stage in stages)
    commit = f", commit {record['commit'][:12]}" if record["commit"] else ""
    return Page(
        title=f"Proof of {record['device']}",
        verdict=record["verdict"],
        summary=f"{passed} of {counted(len(stages), 'stage')} passed, {_others(stages)}; {record['seconds']:.1f} s.",
        sections=sections,
        record=record if selftest is None else selftest,
        footer=f"vfio-ims {record['tool_version']}{commit}, {record['kernel']}, {record['time']}.",
        scripts=["slots.js"] if selftest is not None and selftest.get("slot_results") else [],
    )


def _others(stages: Sequence[Mapping[str, Any]]) -> str:
    words = dict.fromkeys(stage["outcome"] for stage in stages if stage["outcome"] != "passed")
    counts = {word: sum(stage["outcome"] == word for stage in stages) for word in words}
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "none failed"


def _failures(failed: Sequence[Mapping[str, Any]], left: Sequence[str]) -> Markup:
    wrong = [{"text": f"{stage['name']}: {stage['text']}", "hint": stage["hint"]} for stage in failed]
    wrong += [{"text": f"left behind: {one}", "hint": "vfio-ims restore"} for one in left]
    return findings(wrong)


def _stages(stages: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        (stage["name"], badge(stage["outcome"]), f"{stage['seconds']:.2f} s" if stage["seconds"] else "", stage["text"])
        for stage in stages
    ]
    return table(("stage", "", "time", ""), rows, numbers=[2], text=[3])


def _machine(record: Mapping[str, Any]) -> Markup:
    before, after = record["machine"]["before"], record["machine"]["after"]
    if not before:
        return paragraph("Software answered: nothing of this machine was touched.")
    names = [*before, *(name for name in after if name not in before)]
    rows = [(name, before.get(name, "–"), after.get(name, "–")) for name in names]
    differ = [number for number, (_, was, now) in enumerate(rows) if was != now]
    said = "Something is not as it was." if differ else "All of it is as it was."
    return join([paragraph(said), table(("", "before", "after"), rows, differ=differ)])


def _checks(checks: Sequence[Mapping[str, Any]]) -> Markup:
    """Those that are not well with cause and remedy; the others as a count."""
    ill = [check for check in checks if check["status"] not in ("ok", "note")]
    rows = [(f"{one['check']}", badge(one["status"]), _said(one)) for one in ill]
    well = counted(len(checks) - len(ill), "other check")
    shown = table(("", "", ""), rows, text=[2], head=False) if rows else markup("")
    return join([paragraph(f"As it was before binding. {well} found nothing wrong."), shown])


def _said(check: Mapping[str, Any]) -> Markup:
    more = {"cause": check["cause"], "do": check["fix"]}
    kept = {name: text for name, text in more.items() if text}
    return join([markup("{}", check["evidence"]), facts(kept)] if kept else [markup("{}", check["evidence"])])
