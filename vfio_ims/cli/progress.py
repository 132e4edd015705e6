# SPDX-License-Identifier: Apache-2.0
"""How far a self-test is: a bar on a terminal's stderr, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vfio_ims.cli.output import echo, plain

if TYPE_CHECKING:
    from vfio_ims.selftest import Progress

__all__ = ["TimeLeft", "progress"]

_FIRST, _EVERY = 2.0, 5.0  # seconds until the first line, and between two
_SHARES = {"donor passes": 9, "PASIDs": 8, "masks": 4, "own words": 2, "reset": 2}
"""How long steps take beside each other, as measured on models; all others count 1."""


class TimeLeft:
    """Estimates the time left from how far the steps are, and from how long they take beside each other."""

    def __init__(self, now: float) -> None:
        self._began = now

    def seconds(self, at: Progress, names: tuple[str, ...], now: float) -> float | None:
        """Until the last of ``names``, the steps in their order, is done; None: nothing to judge by yet."""
        shares = [_SHARES.get(name.partition(",")[0], 1) for name in names]
        inside = shares[at.number - 1] * (at.done / at.total if at.total else 0)
        done = sum(shares[: at.number - 1]) + inside
        passed = now - self._began
        if passed < 1 or done * 20 < sum(shares):
            return None
        return passed * (sum(shares) - done) / done


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = max(round(seconds), 1)
    return f"about {whole // 60} min {whole % 60:02} s left" if whole >= 60 else f"about {whole} s left"


@contextmanager
def progress(title: str, *, resets: bool = True) -> Iterator[Callable[[Progress], None]]:
    """Yields what a self-test calls with its progress. The bar is gone when it ends, however it ends.

    Without a terminal, or where NO_COLOR asks for text that does not move, a line is printed to stderr after two
    seconds and then every five: a run that is over sooner prints none. ``resets``: whether the run has its second half.
    """
    from vfio_ims.selftest import steps_of

    names, left = steps_of(resets=resets), TimeLeft(time.monotonic())
    if sys.stderr.isatty() and not plain():
        with _bar(title, names, left) as report:
            yield report
        return
    due = time.monotonic() + _FIRST

    def report_line(at: Progress) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due:
            due = now + _EVERY
            parts = [f"{title}: step {at.number} of {at.steps}, {at}", _left(left.seconds(at, names, now))]
            echo("; ".join(part for part in parts if part), err=True)
            sys.stderr.flush()

    yield report_line


@contextmanager
def _bar(title: str, names: tuple[str, ...], left: TimeLeft) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    from vfio_ims.cli.terminal import PrintableConsole

    out = PrintableConsole(stderr=True)
    text = TextColumn("{task.description}", table_column=Column(no_wrap=True))
    bar = BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4))
    remaining = TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True))
    columns = (text, bar, remaining) if out.width >= 60 else (text,)
    with Bar(*columns, console=out, transient=True, expand=True) as shown:
        task = shown.add_task(title, total=None, left="")

        def report(at: Progress) -> None:
            step = f"{at.number} of {at.steps}" if out.width < 60 else f"step {at.number} of {at.steps}"
            description = f"{title} {step}: {at.step}"
            remains = _left(left.seconds(at, names, time.monotonic()))
            shown.update(task, description=description, completed=at.done, total=at.total or None, left=remains)

        yield report
