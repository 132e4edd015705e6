# SPDX-License-Identifier: Apache-2.0
"""Sparklines: the last rates of an interrupt in a word's space."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

__all__ = ["History", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_NONE = " "


def sparkline(values: Iterable[float], *, top: float | None = None) -> str:
    """A bar a value, from nothing to ``top``, by default the highest; nothing at all is a space, not the lowest bar."""
    shown = list(values)
    full = max(shown, default=0.0) if top is None else top
    if full <= 0:
        return _NONE * len(shown)
    return "".join(
        _NONE if value <= 0 else _BARS[min(int(value / full * len(_BARS)), len(_BARS) - 1)] for value in shown
    )


class History:
    """The last rates of each source, as many as are kept."""

    def __init__(self, kept: int = 32) -> None:
        self._kept = kept
        self._looks = 0
        self._rates: dict[str, deque[float]] = {}

    def add(self, rates: Mapping[str, float]) -> None:
        """A look: sources that are new had nothing before, and those that are not named have nothing now."""
        for name in {*self._rates, *rates}:
            known = self._rates.setdefault(name, deque([0.0] * min(self._looks, self._kept), self._kept))
            known.append(rates.get(name, 0.0))
        self._looks += 1

    def line(self, name: str, width: int) -> str:
        """The last ``width`` rates of a source, each against its own highest; padded on the left."""
        values = list(self._rates.get(name, ()))[-width:]
        return sparkline(values).rjust(width)
