# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a capability list, beside whatever could be decoded from it."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Diagnosis", "Fault"]


class Fault(StrEnum):
    """Kinds of damage."""

    ABSENT = "absent"
    ALIASED = "aliased"
    INTO_HEADER = "points into the header"
    MISALIGNED = "misaligned"
    LOOP = "loop"
    GARBAGE = "garbage"
    OVERLAP = "overlap"
    PAST_END = "past the end"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One fault: what it is, at which offset it was seen, and in words."""

    fault: Fault
    offset: int
    text: str

    def __str__(self) -> str:
        return f"{self.offset:#05x}: {self.text}"
