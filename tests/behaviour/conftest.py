# SPDX-License-Identifier: Apache-2.0
"""For every test of the behavioural suite."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import pytest

from tests.behaviour.maskless import MASKLESS, NEEDS_MASK
from vfio_ims.testing import held

_ENDING = 2.0  # a thread that was asked to end may take a moment


@pytest.fixture(autouse=True, scope="session")
def old_objects_stay() -> Iterator[None]:
    """What is there before the first test is not garbage: looking through it after every test would take most time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def masks_where_they_are_needed(request: pytest.FixtureRequest) -> None:
    """Skip what needs masks where entries have none."""
    node = request.node
    if node.originalname in NEEDS_MASK and any(model in node.name for model in MASKLESS):
        pytest.skip("the table's entries have no mask")


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the test, and its devices' end, there are no more descriptors, mappings and threads than before it."""
    if "vfio_name" in request.fixturenames:
        request.getfixturevalue("vfio_name")  # may start a server, which stays for the run
    before = held(collect=False)
    yield
    if request.config.getoption("--vfio-faults"):  # a sweep looks itself, once a failed test's frames are gone
        return
    if not held(collect=False).since(before):  # then no garbage holds anything, and none has to be looked for
        return
    deadline = time.monotonic() + _ENDING
    while (leaked := held().since(before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not leaked, f"the test left {leaked}"
