# SPDX-License-Identifier: Apache-2.0
"""Rows in columns, or one record below the other where a terminal is too narrow for columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vfio_ims.cli.output import hang
from vfio_ims.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["fits", "print_records", "print_rows"]

_ROOM = 20  # that the last column needs at least, to wrap in


def _widths(titles: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(cell_len(title), *(cell_len(printable(row[title])) for row in rows)) for title in titles]


def fits(out: Console, titles: Sequence[str], rows: Sequence[Mapping[str, str]]) -> bool:
    """Whether all columns fit, the last one wrapped. What is no terminal has any width."""
    *fixed, last = _widths(titles, rows)
    return not out.is_terminal or sum(fixed) + 2 * len(fixed) + min(last, _ROOM) <= out.width


def print_rows(out: Console, titles: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """A heading, then a line for each row: elsewhere than on a terminal always one. There the last column wraps."""
    from rich.cells import set_cell_size
    from rich.text import Text

    *fixed, _ = _widths(titles, rows)
    *before, last = titles

    def line(cells: Mapping[str, str]) -> None:
        head = "".join(
            f"{set_cell_size(printable(cells[title]), width)}  " for title, width in zip(before, fixed, strict=True)
        )
        hang(out, Text(head), Text(cells[last]))

    heading = zip(titles, (*fixed, 0), strict=True)
    out.print(Text("  ".join(f"{title:{width}}" for title, width in heading), style="bold"), soft_wrap=True)
    for row in rows:
        line(row)


def print_records(out: Console, head: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """For each row the values of ``head`` on a line, then each other value that there is, below its title."""
    from rich.text import Text

    for number, row in enumerate(rows):
        if number:
            out.print()
        first, *others = head
        hang(out, Text(f"{printable(row[first])}  ", style="bold"), Text("  ".join(row[title] for title in others)))
        for title, value in row.items():
            if title not in head and value != "-":
                hang(out, Text(f"  {title}: ", style="dim"), Text(value))
