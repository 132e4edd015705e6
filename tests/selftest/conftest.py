# SPDX-License-Identifier: Apache-2.0
"""Whatever a test opened is closed, also when it fails."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.selftest import devices


@pytest.fixture(autouse=True)
def _close_all() -> Iterator[None]:
    yield
    while devices.OPENED:
        with contextlib.suppress(Exception):
            devices.OPENED.pop().driver.close()
