# SPDX-License-Identifier: Apache-2.0
"""The latency histogram, on a log axis, with its percentiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.counted import counted
from vfio_ims.html.colours import LIGHT
from vfio_ims.html.drawing import draw
from vfio_ims.html.elements import figure, table

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["PERCENTILES", "latency_figure", "percentile", "percentile_table"]

PERCENTILES = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_MARKED = ("p50", "p99", "max")
_PER_DECADE = 24
_LEAST = 0.1  # of what is drawn: a log axis has no zero


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample at ``share`` of the way from the least to the greatest."""
    ordered = sorted(samples)
    return ordered[round((len(ordered) - 1) * share)]


def latency_figure(samples: Sequence[float], *, edges: Sequence[float] | None = None, width: float = 560) -> Markup:
    """A histogram of ``samples`` in microseconds, at least one, on a log axis; ``width`` in points.

    ``edges``: of the bins, for two histograms that are to be compared.
    """
    bins = list(edges or bin_edges(samples))
    shown = [max(sample, _LEAST) for sample in samples]

    def paint(axes: Any) -> None:
        axes.set_xscale("log")
        heights, _, _ = axes.hist(shown, bins=bins, color=LIGHT["bars"], edgecolor="none")
        top = max(heights)
        axes.set_ylim(0, top * 1.32)
        for number, name in enumerate(_MARKED):
            at = percentile(shown, PERCENTILES[name])
            axes.axvline(
                at, ymax=0.80 + 0.06 * number, color=LIGHT["text"], linewidth=0.9, linestyle=("-", "--", ":")[number]
            )
            right = math.log(at / bins[0]) > 0.7 * math.log(bins[-1] / bins[0])
            axes.text(
                at,
                top * (1.08 + 0.08 * number),
                f" {name} {micro(percentile(samples, PERCENTILES[name]))} ",
                ha="right" if right else "left",
                fontsize=8.5,
            )
        axes.set_xlim(bins[0], bins[-1])
        axes.xaxis.set_major_formatter(lambda value, _: micro(value))
        between = "25" if bins[-1] < 30 * bins[0] else ""  # within a decade or two there are few whole powers of ten
        axes.xaxis.set_minor_formatter(lambda value, _: micro(value) if f"{value:e}"[0] in between else "")
        axes.grid(axis="y", linewidth=0.6)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel("fires")
        axes.set_xlabel("from the fire until the owner's wait returned (log axis)")

    caption = f"{counted(len(samples), 'fire')}, one after the other"
    says = f"Latency histogram: {', '.join(f'{n} {micro(percentile(samples, s))}' for n, s in PERCENTILES.items())}"
    return figure(draw(width, 210, paint, says), caption)


def bin_edges(*runs: Sequence[float]) -> list[float]:
    """Alike on a log axis, over everything that was measured."""
    found = [max(sample, _LEAST) for samples in runs for sample in samples]
    low, high = (
        math.floor(math.log10(min(found)) * _PER_DECADE) - 1,
        math.ceil(math.log10(max(found)) * _PER_DECADE) + 1,
    )
    return [10 ** (step / _PER_DECADE) for step in range(low, high + 1)]


def percentile_table(runs: Mapping[str, Sequence[float]]) -> Markup:
    """Percentiles of each run, a row each."""
    rows = [
        (name, len(some), *(micro(percentile(some, share)) for share in PERCENTILES.values()))
        for name, some in runs.items()
    ]
    return table(("run", "fires", *PERCENTILES), rows, numbers=range(1, len(PERCENTILES) + 2))


def micro(value: float) -> str:
    """Microseconds with the unit that suits them."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} µs"
