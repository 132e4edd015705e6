# SPDX-License-Identifier: Apache-2.0
"""Engines for the tests of this room: every map, in process and behind a socket."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from vfio_ims.drivers.synopsys_edma.driver import Edma
from vfio_ims.drivers.synopsys_edma.model import EdmaModel, HdmaModel
from vfio_ims.vfio_user import Server

Opener = Callable[..., Edma]

MAPS = (
    "synopsys-edma",
    "synopsys-edma,map=legacy",
    "synopsys-edma,map=hdma-compatible",
    "synopsys-edma,map=hdma",
    "amd-hdma",
)
"""One of every layout of registers."""


@contextmanager
def mounted(mount: str, name: str) -> Iterator[Edma]:
    """A driver in process, or behind a vfio-user socket that a thread here serves."""
    if mount == "mock":
        with Edma.open(f"mock:{name}") as driver:
            yield driver
        return
    kind, *options = name.split(",")
    given = dict(option.split("=") for option in options)
    model = (HdmaModel if kind == "amd-hdma" else EdmaModel)(kind, **given)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with Server(model, f"{folder}/socket"), Edma.open(f"vfio-user:{folder}/socket") as driver:
                yield driver
        finally:
            model.close()


def model_of(driver: Edma) -> EdmaModel:
    """The model behind a driver on the mock."""
    link: Any = driver.device.port.link  # type: ignore[attr-defined]
    found = link.model
    assert isinstance(found, EdmaModel)
    return found


@pytest.fixture(params=MAPS)
def engine(request: pytest.FixtureRequest) -> Iterator[Edma]:
    """One on the mock, of each map."""
    with mounted("mock", request.param) as driver:
        yield driver


@pytest.fixture(scope="module", params=[(mount, name) for mount in ("mock", "vfio-user") for name in MAPS], ids=str)
def shared(request: pytest.FixtureRequest) -> Iterator[Edma]:
    """One of each map on each mount, for all examples of a module."""
    with mounted(*request.param) as driver:
        yield driver


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens a driver by its mock's options; closed with the test."""
    with ExitStack() as stack:

        def opener(options: str = "", name: str = "synopsys-edma") -> Edma:
            return stack.enter_context(Edma.open(f"mock:{name}{',' if options else ''}{options}"))

        yield opener
