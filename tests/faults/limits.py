# SPDX-License-Identifier: Apache-2.0
"""Limits of this process, lowered for a while."""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["at_most"]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """This process may open ``more`` descriptors and no others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = (fd for fd in itertools.count() if not _is_open(fd))
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, more, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
