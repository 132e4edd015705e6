# SPDX-License-Identifier: Apache-2.0
"""Load balancers for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from vfio_ims.drivers.intel_dlb.driver import Dlb
from vfio_ims.drivers.intel_dlb.model import DlbModel


def model_of(driver: Dlb) -> DlbModel:
    """The model behind a driver on the mock."""
    link: Any = driver.device.port.link  # type: ignore[attr-defined]
    found = link.model
    assert isinstance(found, DlbModel)
    return found


@pytest.fixture
def dlb() -> Iterator[Dlb]:
    with Dlb.open("mock:intel-dlb") as driver:
        yield driver
