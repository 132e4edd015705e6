# SPDX-License-Identifier: Apache-2.0
"""Numbers of slots as ranges in text, as JSON answers have them, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["numbers", "runs", "spans"]


def runs(found: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    together: list[tuple[int, int]] = []
    for number in sorted(set(found)):
        if together and number == together[-1][1] + 1:
            together[-1] = together[-1][0], number
        else:
            together.append((number, number))
    return together


def spans(found: Iterable[int]) -> list[str]:
    """Numbers as ranges: ``["0-15", "20"]``."""
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs(found)]


def numbers(ranges: Iterable[str]) -> Iterator[int]:
    """The numbers of ranges such as 0-15."""
    for one in ranges:
        first, _, last = one.partition("-")
        yield from range(int(first), int(last or first) + 1)
