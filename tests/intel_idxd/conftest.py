# SPDX-License-Identifier: Apache-2.0
"""Devices for the tests of this room, and a way to the model behind them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import pytest

import vfio_ims
from vfio_ims.drivers.intel_idxd.driver import Dsa, Iaa
from vfio_ims.drivers.intel_idxd.model import DsaModel, IaaModel, IdxdModel
from vfio_ims.vfio_user import Server

Opener = Callable[..., Dsa]
K = TypeVar("K", Dsa, Iaa)
MOUNTS = ("mock", "vfio-user")
"""Where the operations are checked against their oracles."""


@contextmanager
def mounted(mount: str, name: str, options: str = "") -> Iterator[Any]:
    """A driver of a small device: in process, or behind a vfio-user socket that a thread here serves."""
    if mount == "mock":
        with vfio_ims.open_driver(f"mock:{name},slots=256{options}") as driver:
            yield driver
        return
    given = dict(option.split("=") for option in options.split(",") if option)
    model = (DsaModel if name == "intel-dsa" else IaaModel)(slots=256, **given)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with Server(model, f"{folder}/socket"), vfio_ims.open_driver(f"vfio-user:{folder}/socket") as driver:
                yield driver
        finally:
            model.close()


def everywhere(kind: type[K]) -> Callable[[pytest.FixtureRequest], Iterator[K]]:
    """A fixture for ``shared = everywhere(Dsa)``: one device on each mount for all examples of a module."""

    @pytest.fixture(scope="module", params=MOUNTS)
    def shared(request: pytest.FixtureRequest) -> Iterator[K]:
        with mounted(request.param, "intel-dsa" if kind is Dsa else "intel-iaa") as driver:
            assert isinstance(driver, kind)
            yield driver

    return shared


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
