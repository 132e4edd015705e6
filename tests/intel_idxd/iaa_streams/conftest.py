# SPDX-License-Identifier: Apache-2.0
"""One IAA on each mount for all examples of a module, memory for its work, and for the state of its streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.intel_idxd.conftest import everywhere
from tests.intel_idxd.memory import PAGE, Arena, arena
from vfio_ims.drivers.intel_idxd.driver import Iaa
from vfio_ims.drivers.intel_idxd.driver.queue_session import IaaQueue

shared = everywhere(Iaa)


@pytest.fixture(scope="module")
def memory(shared: Iaa) -> Arena:
    return arena(shared, 56 * PAGE)


@pytest.fixture(scope="module")
def states(shared: Iaa) -> Arena:
    return arena(shared, 4 * PAGE)


@pytest.fixture
def wq(shared: Iaa) -> Iterator[IaaQueue]:
    with shared.wq(0) as queue:
        yield queue
