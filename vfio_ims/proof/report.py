# SPDX-License-Identifier: Apache-2.0
"""The report of a proof: a line a stage, what the doctor and the self-test said, what is left of it on the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.host.doctor import Result
    from vfio_ims.selftest import Report

__all__ = ["STAGES", "Outcome", "Proof", "Stage"]

STAGES = ("doctor", "bind", "open", "loopback", "driver", "own MSI-X", "IMS self-test", "DMA", "reset", "restore")
"""In the order in which they run. The last one always does."""


class Outcome(StrEnum):
    """Not needed: the mount has no such thing. Not applicable: the device has not. Not run: something before failed."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_NEEDED = "not needed"
    NOT_APPLICABLE = "not applicable"
    NOT_RUN = "not run"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. ``hint``: what to do next where it failed; ``host``: it is the machine that is not ready."""

    name: str
    outcome: Outcome
    text: str = ""
    hint: str = ""
    seconds: float = 0.0
    host: bool = False

    def to_json(self) -> dict[str, object]:
        """Plain values; see docs/json.md."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "text": self.text,
            "hint": self.hint,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Proof:
    """What a proof found out.

    ``before`` and ``after`` are what the machine was like around the function, ``left`` the differences; empty on a
    mount without a function of this machine. ``interrupted``: the stage that was broken off, or "".
    """

    device: str
    stages: tuple[Stage, ...]
    checks: tuple[Result, ...] = ()
    selftest: Report | None = None
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    interrupted: str = ""
    seconds: float = 0.0

    @property
    def left(self) -> tuple[str, ...]:
        """What is not as it was, in words."""
        names = {**self.before, **self.after}
        return tuple(
            f"{name} was {self.before.get(name, 'not there')}, is {self.after.get(name, 'not there')}"
            for name in names
            if self.before.get(name) != self.after.get(name)
        )

    @property
    def failed(self) -> Stage | None:
        """The first stage that failed."""
        return next((stage for stage in self.stages if stage.outcome is Outcome.FAILED), None)

    @property
    def verdict(self) -> str:
        """``passed``; ``failed``; ``interrupted``; ``incomplete`` where nothing failed, but no slot was tested."""
        if self.failed is not None or self.left:
            return "failed"
        if self.interrupted:
            return "interrupted"
        tested = any(one.name == "IMS self-test" and one.outcome is Outcome.PASSED for one in self.stages)
        return "passed" if tested else "incomplete"

    @property
    def host_not_ready(self) -> bool:
        """Whether it failed for want of something on the machine, rather than on the device."""
        return self.failed is not None and self.failed.host

    def to_json(self) -> dict[str, object]:
        """Plain values; see docs/json.md."""
        selftest = None
        if self.selftest is not None:
            selftest = {key: value for key, value in self.selftest.to_json().items() if key not in ("schema", "kind")}
        return {
            "device": self.device,
            "verdict": self.verdict,
            "interrupted": self.interrupted or None,
            "stages": [stage.to_json() for stage in self.stages],
            "checks": [result.to_json() for result in self.checks],
            "selftest": selftest,
            "machine": {"before": dict(self.before), "after": dict(self.after), "left": list(self.left)},
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        """For people; what matters most comes last. Its form is no promise: the JSON's is."""
        width = max(len(name) for name in STAGES)
        lines = [self.device, ""]
        for stage in self.stages:
            lines.append(f"  {stage.name:{width}}  {stage.outcome:14}  {stage.text}".rstrip())
            if stage.outcome is Outcome.FAILED and stage.hint:
                lines.append(f"  {'':{width}}  {'':14}  next: {stage.hint}")
        if self.selftest is not None and not self.selftest.passed:
            lines += ["", *str(self.selftest).splitlines()]
        if self.left:
            lines += ["", "not as it was:", *(f"  {one}" for one in self.left)]
        return "\n".join([*lines, "", f"{self.verdict.upper()} in {self.seconds:.1f} s"])
