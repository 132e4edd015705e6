# SPDX-License-Identifier: Apache-2.0
"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Result", "Status"]


class Status(StrEnum):
    """FAIL: nothing will work until this is fixed. WARN: something will not. UNKNOWN: this user could not see it."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "FAIL"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Result:
    """``evidence`` is what was looked at, ``cause`` what it means, ``fix`` the exact command, option or step."""

    group: str
    check: str
    status: Status
    evidence: str
    cause: str = ""
    fix: str = ""

    @property
    def failed(self) -> bool:
        return self.status is Status.FAIL

    def to_json(self) -> dict[str, str]:
        """Plain values; see docs/json.md."""
        return {
            "group": self.group,
            "check": self.check,
            "status": self.status.value.lower(),
            "evidence": self.evidence,
            "cause": self.cause,
            "fix": self.fix,
        }

    def __str__(self) -> str:
        return f"{self.status}: {self.evidence}"
