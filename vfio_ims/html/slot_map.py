# SPDX-License-Identifier: Apache-2.0
"""The slot map: a cell a slot, row by row from slot 0 on, coloured and marked by what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.counted import counted
from vfio_ims.html.drawing import draw, polylines, rectangles
from vfio_ims.html.elements import figure, markup
from vfio_ims.html.marks import look_of, severity

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["columns_for", "slot_map"]

_WIDE, _SMALL = 700, 190  # points of a whole map's cells
_LARGEST = 26  # points of a cell


def columns_for(slots: int) -> int:
    """How many cells a row has: a power of two, so that what an address line does shows as a pattern."""
    return next((columns for columns in (8, 16, 32) if slots <= columns * columns // 2), 64)


def slot_map(results: Sequence[str | None], caption: str = "", *, small: bool = False) -> Markup:
    """A cell for each slot, coloured by its result. ``caption``: what the picture shows.

    ``results``: by slot, words of the self-test's JSON; None: the slot did not take part. ``small``: one of many maps
    beside each other, without numbers.
    """
    columns = columns_for(len(results))
    rows, width = -(-len(results) // columns), min(columns, len(results))
    cell = min(_LARGEST / (2 if small else 1), (_SMALL if small else _WIDE) / columns)
    margin = (4, 4) if small else (44, 24)

    def paint(axes: Any) -> None:
        for result in sorted({one for one in results if one is not None}, key=severity):
            look = look_of(result)
            same = [slot for slot, one in enumerate(results) if one == result]
            rectangles(axes, _blocks(same, columns), look.colour)
            marks = [
                [(slot % columns + x, slot // columns + y) for x, y in line] for slot in same for line in look.lines
            ]
            polylines(axes, marks, "mark", max(0.5, cell / 12))
        _edge(axes, len(results), columns)
        if cell > 5:
            _grid(axes, len(results), columns, rows)
        axes.set_xlim(0, width)
        axes.set_ylim(rows, 0)
        axes.set_aspect("equal")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=8, pad=2)
        axes.xaxis.tick_top()
        step = max(1, columns // 8)
        axes.set_xticks(
            [] if small else [x + 0.5 for x in range(0, width, step)],
            labels=None if small else [f"+{x}" for x in range(0, width, step)],
        )
        each = max(1, -(-rows // 16))
        axes.set_yticks(
            [] if small else [y + 0.5 for y in range(0, rows, each)],
            labels=None if small else [str(y * columns) for y in range(0, rows, each)],
        )

    says = f"{caption or 'Slot map'}: {in_words(results)}"
    picture = draw(width * cell + margin[0], rows * cell + margin[1], paint, says)
    shown = markup("<b>{}</b><br>{}", caption, in_words(results)) if caption else in_words(results)
    return figure(picture, shown, attributes={"columns": columns, "slots": len(results)})


def in_words(results: Sequence[str | None]) -> str:
    """``2040 delivered, 8 lost``."""
    found = Counter(one for one in results if one is not None)
    words = [f"{found[one]} {one}" for one in sorted(found, key=severity)]
    left = len(results) - found.total()
    if left and words:
        words.append(f"{left} left out")
    return ", ".join(words) or f"{counted(len(results), 'slot')}, none tested"


def _blocks(slots: Sequence[int], columns: int) -> Iterator[tuple[float, float, float, float]]:
    """Rectangles that cover the cells of ``slots``: runs within rows, joined with the like in the rows below."""
    open_runs: dict[tuple[int, int], int] = {}
    rows: dict[int, list[tuple[int, int]]] = {}
    for slot in slots:
        row, place = divmod(slot, columns)
        runs = rows.setdefault(row, [])
        if runs and runs[-1][1] == place:
            runs[-1] = runs[-1][0], place + 1
        else:
            runs.append((place, place + 1))
    last = -1
    for row in sorted(rows):
        for run, top in list(open_runs.items()):
            if row != last + 1 or run not in rows[row]:
                yield run[0], top, run[1], last + 1
                del open_runs[run]
        for run in rows[row]:
            open_runs.setdefault(run, row)
        last = row
    for run, top in open_runs.items():
        yield run[0], top, run[1], last + 1


def _grid(axes: Any, slots: int, columns: int, rows: int) -> None:
    """Lines between the cells."""
    full, rest = divmod(slots, columns)
    width = min(columns, slots)
    lines = [[(x, 0), (x, full + (x < rest))] for x in range(1, width)]
    lines += [[(0, y), (width if y < full else rest, y)] for y in range(1, rows)]
    polylines(axes, lines, "page", 0.7)


def _edge(axes: Any, slots: int, columns: int) -> None:
    """Round the table: its last row may be shorter."""
    full, rest = divmod(slots, columns)
    if not full:
        corners = [(0, 0), (rest, 0), (rest, 1), (0, 1)]
    elif rest:
        corners = [(0, 0), (columns, 0), (columns, full), (rest, full), (rest, full + 1), (0, full + 1)]
    else:
        corners = [(0, 0), (columns, 0), (columns, full), (0, full)]
    polylines(axes, [[*corners, corners[0]]], "quiet", 0.8, name="cells")
