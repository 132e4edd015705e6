# SPDX-License-Identifier: Apache-2.0
"""A report as plain text for people. Its form is no promise; the JSON's is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.selftest.findings import Finding, Kind
from vfio_ims.selftest.report import Outcome

if TYPE_CHECKING:
    from vfio_ims.selftest.report import Report, Step

__all__ = ["render"]


def _counted(step: Step) -> str:
    """What a step counted: always where it failed, else where it has nothing better to say."""
    if not any(step.counts.to_json().values()):
        return ""
    return str(step.counts) if step.outcome is Outcome.FAILED or not step.text else ""


def render(report: Report) -> str:
    """The whole report; what matters most comes last."""
    lines = [f"{report.device} ({report.driver}, {report.mount})", "", "ladder"]
    width = max(len(name) for name in [*(rung.name for rung in report.rungs), *(step.name for step in report.steps)])
    for rung in report.rungs:
        lines.append(f"  {rung.name:{width}}  {rung.outcome:14}  {rung.text}".rstrip())
    if report.steps:
        some = report.slots != report.table
        lines += ["", f"every slot: {report.slots} slots" + (f" of {report.table}" if some else "")]
        lines[-1] += f", {report.donors} donors, {report.passes} passes, T {report.timeout:g} s"
        for step in report.steps:
            told = "; ".join(part for part in (step.text, _counted(step)) if part)
            lines.append(f"  {step.name:{width}}  {step.outcome:14}  {told}".rstrip())
        lines += ["", f"counts   {report.counts}"]
    if report.latency is not None:
        lines.append(f"latency  {report.latency}")
    findings = list(report.findings)
    findings += [Finding(Kind.NOT_QUIET, f"not quiet afterwards: {problem}") for problem in report.quiet]
    if findings:
        lines += ["", "findings"]
        lines += [f"  {number}. {finding}" for number, finding in enumerate(findings, 1)]
    lines += ["", f"{report.verdict.upper()} in {report.seconds:.1f} s"]
    return "\n".join(lines)
