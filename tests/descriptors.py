# SPDX-License-Identifier: Apache-2.0
"""Which descriptors this process has opened since a moment: for tests that none is left.

Numbers are compared, not counts: threads of earlier tests may still be closing theirs, which would hide one that is
left, or seem to be one too few.
"""

from __future__ import annotations

import gc
import os
import time

__all__ = ["Descriptors"]


def _open_now() -> set[tuple[int, str]]:
    """Each descriptor's number and what it is of, without the one that lists them."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((int(number), os.readlink(f"/proc/self/fd/{number}")))
        except FileNotFoundError:
            continue
    return found


class Descriptors:
    """The descriptors that are open when it is made. No garbage is collected: what closes later does no harm."""

    def __init__(self) -> None:
        self._before = _open_now()

    def opened(self) -> int:
        """How many were opened since, and are open now."""
        return len(_open_now() - self._before)

    def left(self, *, within: float = 2.0) -> list[str]:
        """What was opened since and is still open after ``within`` seconds; threads have that long to close theirs."""
        end = time.monotonic() + within
        while (new := _open_now() - self._before) and time.monotonic() < end:
            time.sleep(0.01)
            gc.collect()
        return [f"{number}: {target}" for number, target in sorted(new)]
