# SPDX-License-Identifier: Apache-2.0
"""Counts in messages: "1 donor is", "2 donors are"."""

__all__ = ["by_count", "counted"]


def counted(number: int, noun: str) -> str:
    """``number`` and ``noun``, in the plural unless it is 1: ``counted(3, "entry")`` is "3 entries"."""
    return f"{number} {by_count(number, noun, _plural(noun))}"


def by_count(number: int, one: str, several: str) -> str:
    """The word that goes with ``number``: ``by_count(len(slots), "is", "are")``."""
    return one if number == 1 else several


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
