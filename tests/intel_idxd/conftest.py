# SPDX-License-Identifier: Apache-2.0
"""Devices for the tests of this room, and a way to the model behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import vfio_ims
from vfio_ims.drivers.intel_idxd.driver import Dsa, Iaa
from vfio_ims.drivers.intel_idxd.model import IdxdModel

Opener = Callable[..., Dsa]


def model_of(driver: vfio_ims.driver.Driver) -> IdxdModel:
    """The model behind a driver on the mock."""
    link: Any = driver.device.port.link  # type: ignore[attr-defined]
    found = link.model
    assert isinstance(found, IdxdModel)
    return found


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens a driver by its mock's options; closed with the test. Few slots: writing them takes its time."""
    with ExitStack() as stack:

        def opener(options: str = "", name: str = "intel-dsa", slots: int = 256) -> Dsa:
            driver = vfio_ims.open_driver(f"mock:{name},slots={slots}{',' if options else ''}{options}")
            assert isinstance(driver, (Dsa, Iaa))
            stack.enter_context(driver)
            return driver  # type: ignore[return-value]

        yield opener


@pytest.fixture
def whole(opened: Opener) -> Dsa:
    """As large as a real one."""
    return opened(slots=2048)


@pytest.fixture
def dsa(opened: Opener) -> Dsa:
    return opened()
