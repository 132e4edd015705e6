# SPDX-License-Identifier: Apache-2.0
"""Ours against other ways of the same job, in one run, as a table and a picture.

    python -m tests.benchmarks.rivals                              prints what it finds
    python -m tests.benchmarks.rivals --out docs/performance.md    writes it into the page, too, and a picture

A few minutes. Rows that need more than this machine has are left out, with the reason and the way to enable them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.benchmarks.rivals.groups import GROUPS
from tests.benchmarks.rivals.machine import describe
from tests.benchmarks.rivals.page import Found, duration, ratio, render, write
from tests.benchmarks.rivals.rows import Group, LeftOut

__all__ = ["main", "measure"]


def measure(group: Group, rounds: int) -> Found:
    """What is found of one group; each row is printed as soon as it is there."""
    found = Found(group)
    print(f"\n{group.title}", flush=True)
    try:
        for row, pairs in group.measure(rounds):
            found.figures[row] = pairs
            spread = f"{ratio(pairs.ratio)} ({ratio(pairs.low)} to {ratio(pairs.high)})"
            times = f"{duration(pairs.ours)} / {duration(pairs.theirs)}"
            print(f"  {row.job:<48} {row.rival:<30} {spread:<24} {times:<22} {row.limit}", flush=True)
    except LeftOut as why:
        found.reason = str(why)
        print(f"  LEFT OUT, {len(group.rows) - len(found.figures)} rows: {why}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rivals", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, metavar="PAGE", help="the page to write into; the picture goes beside it")
    parser.add_argument("--only", action="append", choices=GROUPS, help="this group; may be repeated. Not with --out")
    parser.add_argument("--rounds", type=int, default=41, help="paired rounds a row (default: 41)")
    parser.add_argument("--all", action="store_true", help="exit with 1 where rows were left out")
    asked = parser.parse_args()
    if asked.out and asked.only:
        parser.error("a page has all groups: leave out --only")
    machine = describe()
    print(machine)
    found = [measure(GROUPS[name], asked.rounds) for name in asked.only or GROUPS]
    missing = [each for each in found if each.reason]
    if asked.out:
        from tests.benchmarks.rivals.picture import picture

        drawn = asked.out.with_suffix(".svg")
        drawn.write_text(picture(found))
        write(asked.out, render(machine, drawn.name, found))
        print(f"\nwrote {asked.out} and {drawn}")
    for each in missing:
        print(f"\nLEFT OUT: {each.group.title}: {each.reason}", file=sys.stderr)
    return 1 if missing and asked.all else 0


if __name__ == "__main__":
    sys.exit(main())
