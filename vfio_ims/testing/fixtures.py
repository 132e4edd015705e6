# SPDX-License-Identifier: Apache-2.0
"""The fixtures ``vfio_name``, ``vfio_device``, ``ims_driver`` and ``vfio_clean``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import pytest

from vfio_ims.testing.marker import Wanted
from vfio_ims.testing.options import Scope
from vfio_ims.testing.stash import ADMISSION, ITEM, OPENED, admit, place_of, places_of
from vfio_ims.testing.tracebacks import UNUSABLE

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.driver import Driver
    from vfio_ims.testing.places import Place

__all__ = ["ims_driver", "vfio_clean", "vfio_device", "vfio_name"]

_Opened = TypeVar("_Opened", "Device", "Driver")


@pytest.fixture(scope="session")
def vfio_name(request: pytest.FixtureRequest) -> str:
    """The name of the device that the test runs on: give it to ``vfio_ims.open`` as often as you like.

    Of session scope, so that fixtures of any scope can open it.
    """
    place: Place | None = getattr(request, "param", None)
    if place is None:  # asked for while the test runs already
        item = request.config.stash[ITEM]
        place = places_of(request.config).places(Wanted.of(item))[0]
        admit(item, place)
    return places_of(request.config).name_of(place)


def _scope(fixture_name: str, config: pytest.Config) -> Scope:
    found: Scope = config.getoption("--vfio-scope")
    return found


def _open(name: str, request: pytest.FixtureRequest, open_it: Callable[[str], _Opened]) -> _Opened:
    try:
        return open_it(name)
    except UNUSABLE as error:
        item = request.config.stash[ITEM]
        place = place_of(item)
        if place is not None:
            request.config.stash[ADMISSION].failed(place, item.nodeid, error)
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope=_scope)
def vfio_device(vfio_name: str, request: pytest.FixtureRequest) -> Iterator[Device]:
    """The bare device, open: no driver runs. Closed after the test, or as ``--vfio-scope`` says."""
    import vfio_ims

    with _open(vfio_name, request, vfio_ims.open) as device:
        yield device


@pytest.fixture(scope=_scope)
def ims_driver(vfio_name: str, request: pytest.FixtureRequest) -> Iterator[Driver]:
    """The device with its vendor's driver started: ``ims_driver.ims`` allocates interrupts.

    Closed after the test, or as ``--vfio-scope`` says. Annotate it with the driver's class, ``ims_driver: Dsa``, and
    type checkers know its methods.
    """
    import vfio_ims

    with _open(vfio_name, request, vfio_ims.open_driver) as driver:
        yield driver


@pytest.fixture
def vfio_clean(vfio_name: str, request: pytest.FixtureRequest) -> None:
    """The test's device as its driver starts it: one that is open for several tests is reset before this one."""
    from vfio_ims.testing.clean import restart

    for device in request.config.stash[OPENED].named(vfio_name):
        restart(device)
