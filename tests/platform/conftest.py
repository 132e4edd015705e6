# SPDX-License-Identifier: Apache-2.0
"""Eventfds for the platform's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture
def fds() -> Iterator[list[int]]:
    """Eight non-blocking eventfds."""
    made = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(8)]
    yield made
    for fd in made:
        os.close(fd)
