# SPDX-License-Identifier: Apache-2.0
"""A process that may open no more descriptors: the error says so and names the limit, and nothing leaks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import vfio_ims
from tests.descriptors import Descriptors
from tests.faults.limits import at_most
from vfio_ims.errors import SetupError
from vfio_ims.testing.server import ServedModel

_MOST = 200  # descriptors that one device with its interrupts is far from


@pytest.fixture(params=["mock", "vfio-user"])
def name(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "mock":
        yield "mock:minimal"
        return
    server = ServedModel("minimal", tmp_path)
    yield server.name
    server.close()


def job(name: str) -> None:
    """Open, take interrupts of both kinds, have them fired, close."""
    with vfio_ims.open_driver(name) as driver:
        with driver.ims.allocate_group(3) as group:
            driver.fire(group[2].slot)
            assert group[2].wait(timeout=10)
        driver.reset()


def test_wherever_the_limit_is_met_it_is_named(name: str) -> None:
    job(name)  # what is opened once and kept is open now
    before, refused = Descriptors(), 0
    for more in range(_MOST):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                with at_most(more):
                    job(name)
            except SetupError as error:
                text = str(error)
                assert "Too many open files" in text, text
                assert "ulimit -n" in text, text
                refused += 1
            else:
                break
        assert not before.left(), f"with {more} descriptors: {text}"
    assert refused >= 3
    assert more < _MOST - 1
    job(name)
