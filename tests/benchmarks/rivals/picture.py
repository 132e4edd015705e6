# SPDX-License-Identifier: Apache-2.0
"""The ratios as a picture: a mark a row on a logarithmic axis, with its quartiles. Light or dark as the system is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tests.benchmarks.rivals.page import Found, ratio
from vfio_ims.html.colours import LIGHT, style
from vfio_ims.html.drawing import POINTS, draw

__all__ = ["picture"]

_ROW, _WIDTH, _MARGIN = 15.0, 800.0, 46.0
_BEHIND = {"facecolor": LIGHT["page"], "edgecolor": "none", "pad": 0.6}


def picture(found: Sequence[Found]) -> str:
    """An SVG of its own, with its background. ``found`` has at least one figure."""
    lines = [
        (each.group.title, row, each.figures[row]) for each in found for row in each.group.rows if row in each.figures
    ]
    titles = [title for number, (title, _, _) in enumerate(lines) if not number or lines[number - 1][0] != title]
    height = _ROW * (len(lines) + len(titles)) + _MARGIN

    def paint(axes: Any) -> None:
        axes.set_xscale("log")
        at, ticks, names = 0, [], []
        before = ""
        for title, row, pairs in lines:
            if title != before:
                axes.text(
                    -0.005, at, title, transform=axes.get_yaxis_transform(), ha="right", va="center", weight="bold"
                )
                before, at = title, at + 1
            good = pairs.ratio <= 1
            colour = LIGHT["good" if good else "caution"]
            axes.plot([pairs.low, pairs.high], [at, at], color=colour, linewidth=1.5)
            axes.plot([pairs.ratio], [at], marker="o" if good else "D", markersize=5, color=colour)
            axes.text(
                max(pairs.high, pairs.ratio) * 1.14, at, _label(pairs.ratio), va="center", fontsize=8, bbox=_BEHIND
            )
            ticks.append(at)
            names.append(f"{row.job}  ·  {row.rival}")
            at += 1
        axes.axvline(1, color=LIGHT["text"], linewidth=0.9)
        axes.set_yticks(ticks, names, fontsize=8)
        axes.set_ylim(at - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(axis="x", linewidth=0.6)
        axes.margins(x=0.08)
        axes.set_xlabel(
            "our time as a multiple of theirs: left of 1 ours is quicker (dot), right of it theirs (diamond)"
        )

    says = "; ".join(f"{row.job}, against {row.rival}: {ratio(pairs.ratio)}" for _, row, pairs in lines)
    return _alone(str(draw(_WIDTH, height, paint, f"Our time as a multiple of others'. {says}")), height)


def _label(number: float) -> str:
    """Few digits: drawing keeps two behind the point."""
    return ratio(number) if number >= 0.1 else f"1/{1 / number:.0f}"


def _alone(svg: str, height: float) -> str:
    """A picture that is part of a page, as a file: with a size, the colours, and a background of its own."""
    head = f'width="{_WIDTH * 96 / POINTS:.0f}" height="{height * 96 / POINTS:.0f}"'
    svg = re.sub(r'<svg role="img" style="[^"]*"', f'<svg role="img" {head}', svg, count=1)
    own = f'<style>{style()}</style><rect width="100%" height="100%" fill="var(--page)"/>'
    return svg.replace("</title>", f"</title>{own}", 1).rstrip() + "\n"
