# SPDX-License-Identifier: Apache-2.0
"""An answer with its evidence: a module of its own, since who looks for functions needs no other value of a port."""

from dataclasses import dataclass, field

__all__ = ["Evidence"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """An answer (None: unknown) with what was looked at to reach it, and what would show it where nothing did."""

    answer: bool | None
    text: str
    to_find_out: str = field(default="")
