# SPDX-License-Identifier: Apache-2.0
"""Donors by slots: a failure of one donor shows as a row, one of some slots as a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.counted import counted
from vfio_ims.html.colours import LIGHT
from vfio_ims.html.drawing import draw, polylines, rectangles
from vfio_ims.html.elements import figure, join
from vfio_ims.html.marks import LOOKS
from vfio_ims.html.run import Part

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["donor_maps"]

_MOST = 32  # rows and columns: more are taken together


def donor_maps(parts: Sequence[Part], slots: int) -> Markup | None:
    """Of the parts whose messages went to donors; None where there is none. Then where misrouted ones arrived."""
    fired, failed, astray = Counter[tuple[int, int]](), Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for part in parts:
        for slot, (vector, result) in enumerate(zip(part.vectors, part.results, strict=True)):
            if vector >= 0 and result is not None:
                fired[vector, slot] += 1
                failed[vector, slot] += not (result in LOOKS and LOOKS[result].good)
                if slot in part.astray:
                    astray[vector, part.astray[slot]] += 1
    vectors = sorted({vector for vector, _ in fired} | {vector for _, vector in astray})
    if not vectors:
        return None
    donors, places = _Bins(vectors), _Bins(range(slots))
    pictures = [
        _picture(
            _binned(fired, donors, places),
            _binned(failed, donors, places),
            donors,
            places,
            ("vector", "slots"),
            f"Failed fires by donor and slot: {_sum(failed, fired)}. A number is how many failed there; an empty cell "
            "was not fired; one without a number delivered all; darker: half of them or more.",
        )
    ]
    if astray:
        both = _binned(astray, donors, donors)
        pictures.append(
            _picture(
                both, both, donors, donors, ("was due on vector", "arrived on vector"), "Where misrouted fires arrived."
            )
        )
    return join(pictures)


def _sum(failed: Counter[tuple[int, int]], fired: Counter[tuple[int, int]]) -> str:
    return f"{failed.total() or 'none'} of {counted(fired.total(), 'fire')}"


class _Bins:
    """Numbers in at most 32 bins of neighbours."""

    def __init__(self, numbers: Sequence[int]) -> None:
        size = -(-len(numbers) // _MOST)
        self.groups = [numbers[first : first + size] for first in range(0, len(numbers), size)]
        self._place = {number: place for place, group in enumerate(self.groups) for number in group}

    def __len__(self) -> int:
        return len(self.groups)

    def of(self, number: int) -> int:
        return self._place[number]

    @property
    def labels(self) -> list[str]:
        return [str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in self.groups]


def _binned(counts: Counter[tuple[int, int]], rows: _Bins, columns: _Bins) -> Counter[tuple[int, int]]:
    binned = Counter[tuple[int, int]]()
    for (row, column), number in counts.items():
        binned[rows.of(row), columns.of(column)] += number
    return binned


def _picture(
    fired: Counter[tuple[int, int]],
    failed: Counter[tuple[int, int]],
    rows: _Bins,
    columns: _Bins,
    axis: tuple[str, str],
    caption: str,
) -> Markup:
    wide, high = max(20.0, min(30.0, 640 / len(columns))), 18.0

    def paint(axes: Any) -> None:
        by_colour: dict[str, list[tuple[float, float, float, float]]] = {}
        for (row, column), number in sorted(fired.items()):
            colour = _colour(failed[row, column], number)
            by_colour.setdefault(colour, []).append((column, row, column + 1, row + 1))
            if failed[row, column]:
                size = 8 if len(str(failed[row, column])) < 4 else 6.5
                where = {"ha": "center", "va": "center_baseline"}
                axes.text(column + 0.5, row + 0.52, str(failed[row, column]), size=size, color=LIGHT["mark"], **where)
        for colour, corners in by_colour.items():
            rectangles(axes, corners, colour)
        lines = [[(x, 0), (x, len(rows))] for x in range(len(columns) + 1)]
        lines += [[(0, y), (len(columns), y)] for y in range(len(rows) + 1)]
        polylines(axes, lines, "line", 0.7)
        axes.set_xlim(0, len(columns))
        axes.set_ylim(len(rows), 0)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=8)
        crowded = max(map(len, columns.labels)) * len(columns) * 4.8 > wide * len(columns)
        axes.set_xticks([x + 0.5 for x in range(len(columns))], labels=columns.labels, rotation=90 if crowded else 0)
        axes.set_yticks([y + 0.5 for y in range(len(rows))], labels=rows.labels)
        axes.set_ylabel(axis[0])
        axes.set_xlabel(axis[1])

    worst = [name for name, number in zip(rows.labels, _rows(failed, len(rows)), strict=True) if number]
    says = f"{caption} Rows with failures: {', '.join(worst) or 'none'}, of {counted(len(rows), 'row')}"
    return figure(draw(len(columns) * wide + 60, len(rows) * high + 70, paint, says), caption)


def _colour(failed: int, fired: int) -> str:
    if not failed:
        return "delivered"
    return "lost" if 2 * failed >= fired else "wrong"


def _rows(counts: Counter[tuple[int, int]], rows: int) -> list[int]:
    return [sum(number for (row, _), number in counts.items() if row == place) for place in range(rows)]
