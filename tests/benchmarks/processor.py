# SPDX-License-Identifier: Apache-2.0
"""Where processes that answer each other run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_processor"]


@contextmanager
def one_processor() -> Iterator[None]:
    """This process, and what it starts within the block, on one processor.

    To wake another one takes 20 or 80 us by where the scheduler has put whom, which would be most of what is measured.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
