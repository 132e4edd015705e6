# SPDX-License-Identifier: Apache-2.0
"""The report of a self-test: frozen, to be printed, kept as JSON, or asserted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from vfio_ims.counted import counted
from vfio_ims.selftest.counts import Counts, Latency
from vfio_ims.selftest.findings import Finding, Kind
from vfio_ims.selftest.options import Options
from vfio_ims.selftest.slot_results import SlotColumn

__all__ = ["SCHEMA", "Outcome", "Report", "Rung", "Step"]

_NONE = Counts()
SCHEMA = 2
"""Raised when a field of the JSON changes its meaning or goes."""


class Outcome(StrEnum):
    """Of one rung or step. Not applicable: the device has no such feature. Not run: something before it failed.

    Interrupted: it was broken off in the middle; what it counted until then is there.
    """

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    NOT_RUN = "not run"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung of the ladder. ``status``: the device's own registers in words; ``hint``: what to read next."""

    name: str
    outcome: Outcome
    text: str = ""
    status: str = ""
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain values for the JSON report."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "text": self.text,
            "status": self.status,
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One step over all slots. ``text``: what it did, or why it did not."""

    name: str
    outcome: Outcome
    counts: Counts = _NONE
    seconds: float = 0.0
    text: str = ""

    def to_json(self) -> dict[str, object]:
        """Plain values for the JSON report; ``seconds`` to a tenth of a millisecond."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "counts": self.counts.to_json(),
            "seconds": round(self.seconds, 4),
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a self-test found out.

    ``slots`` of ``table`` were tested over ``donors`` vectors in ``passes`` passes; ``timeout``, ``settle`` in seconds.
    ``quiet``: what was not quiet afterwards, as far as it can be seen before the device is closed.
    """

    device: str
    mount: str
    driver: str
    rungs: tuple[Rung, ...]
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    quiet: tuple[str, ...]
    slots: int
    table: int
    donors: int
    passes: int
    timeout: float
    settle: float
    latency: Latency | None
    seconds: float
    columns: tuple[SlotColumn, ...] = field(default=(), repr=False)
    """What became of each slot, part by part of each step."""
    options: Options = field(default_factory=Options, repr=False)
    conditions: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What was tested, by what, on what: name and text of each."""
    interrupted: str = ""
    """The step that was broken off from outside (Ctrl-C); "" where the run came to its end."""

    @property
    def counts(self) -> Counts:
        """Summed over all steps."""
        return sum((step.counts for step in self.steps), Counts())

    @property
    def passed(self) -> bool:
        """Whether it ran to its end, with no finding, no fault in the counts, and the device quiet afterwards."""
        return not self.interrupted and not self.findings and not self.quiet and not self.counts.faults

    @property
    def verdict(self) -> str:
        """``passed``, ``failed``, or ``interrupted`` where it was broken off and nothing had failed until then."""
        if self.interrupted and not self.findings and not self.counts.faults:
            return "interrupted"
        return "passed" if self.passed else "failed"

    @property
    def broken_rung(self) -> Rung | None:
        """Where the ladder stopped; None where it holds."""
        return next((rung for rung in self.rungs if rung.outcome is Outcome.FAILED), None)

    @property
    def not_applicable(self) -> tuple[str, ...]:
        """Rungs and steps that this device has no feature for, each with the reason."""
        parts: list[Rung | Step] = [*self.rungs, *self.steps]
        return tuple(f"{part.name}: {part.text}" for part in parts if part.outcome is Outcome.NOT_APPLICABLE)

    def to_json(self) -> dict[str, object]:
        """Plain values only. ``slots`` in findings are ranges in text, as in ``"0-15"``."""
        return {
            "schema": SCHEMA,
            "kind": "selftest",
            "device": self.device,
            "mount": self.mount,
            "driver": self.driver,
            "verdict": self.verdict,
            "interrupted": self.interrupted or None,
            "slots": self.slots,
            "table_slots": self.table,
            "donors": self.donors,
            "passes": self.passes,
            "timeout_s": self.timeout,
            "settle_s": self.settle,
            **self.counts.to_json(),
            "latency": None if self.latency is None else self.latency.to_json(),
            "ladder": [rung.to_json() for rung in self.rungs],
            "steps": [step.to_json() for step in self.steps],
            "findings": [finding.to_json() for finding in self.findings],
            "not_applicable": list(self.not_applicable),
            "quiet": not self.quiet,
            "not_quiet": list(self.quiet),
            "seconds": round(self.seconds, 3),
            "options": asdict(self.options),
            "conditions": dict(self.conditions),
            "slot_results": [column.to_json(self.slots) for column in self.columns if column.results],
        }

    def __str__(self) -> str:
        return _render(self)


def _counted(step: Step) -> str:
    """What a step counted: always where it failed, else where it has nothing better to say."""
    if not any(step.counts.to_json().values()):
        return ""
    return str(step.counts) if step.outcome is Outcome.FAILED or not step.text else ""


def _render(report: Report) -> str:
    """The whole report for people; what matters most comes last. Its form is no promise: the JSON's is."""
    lines = [f"{report.device} ({report.driver}, {report.mount})", "", "ladder"]
    width = max(len(name) for name in [*(rung.name for rung in report.rungs), *(step.name for step in report.steps)])
    for rung in report.rungs:
        lines.append(f"  {rung.name:{width}}  {rung.outcome:14}  {rung.text}".rstrip())
    if report.steps:
        some = report.slots != report.table
        lines += ["", f"every slot: {counted(report.slots, 'slot')}" + (f" of {report.table}" if some else "")]
        lines[-1] += f", {counted(report.donors, 'donor')}, {counted(report.passes, 'pass')}, T {report.timeout:g} s"
        for step in report.steps:
            notes = "; ".join(part for part in (step.text, _counted(step)) if part)
            lines.append(f"  {step.name:{width}}  {step.outcome:14}  {notes}".rstrip())
        lines += ["", f"counts   {report.counts}"]
    if report.latency is not None:
        lines.append(f"latency  {report.latency}")
    findings = list(report.findings)
    findings += [Finding(Kind.NOT_QUIET, f"not quiet afterwards: {problem}") for problem in report.quiet]
    if findings:
        lines += ["", "findings"]
        lines += [f"  {number}. {finding}" for number, finding in enumerate(findings, 1)]
    if report.interrupted:
        state = (
            "not quiet, see above" if report.quiet else "every slot masked or parked, nothing pending, no event came"
        )
        lines += ["", f"interrupted in: {report.interrupted}", f"left: {state}"]
    lines += ["", f"{report.verdict.upper()} in {report.seconds:.1f} s"]
    return "\n".join(lines)
