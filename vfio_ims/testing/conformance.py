# SPDX-License-Identifier: Apache-2.0
"""Is a driver right? The contract of ``vfio_ims.driver.Driver``, callback by callback, for any registered family.

    pytest --pyargs vfio_ims.testing.conformance --vfio-driver PATH --vfio-device mock:MODEL

Without ``--vfio-device`` it runs on every model of every family; with it, on that device, be it a model or silicon. A
failure names the callback, its promise, what was found instead, and where the promise is written. A skip is something
that the device does not have. A check that takes longer than ``--vfio-check-limit`` fails, and names the callback that
did not return.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vfio_ims.device import Device
from vfio_ims.driver import Driver, driver_for
from vfio_ims.families import family_for, not_under_test
from vfio_ims.testing.checks.ending import *  # noqa: F403
from vfio_ims.testing.checks.family import *  # noqa: F403
from vfio_ims.testing.checks.fire import *  # noqa: F403
from vfio_ims.testing.checks.source import *  # noqa: F403
from vfio_ims.testing.checks.start_stop import *  # noqa: F403
from vfio_ims.testing.checks.table import *  # noqa: F403
from vfio_ims.testing.plugin import places_of
from vfio_ims.testing.time_limit import time_limit

pytestmark = pytest.mark.vfio(model="*")


@pytest.fixture(autouse=True)
def within_its_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """A callback that never returns fails its check, set-up and closing included, and not the whole run."""
    with time_limit(request.config.getoption("--vfio-check-limit")):
        yield


@pytest.fixture(autouse=True)
def the_folder_answers(vfio_name: str, request: pytest.FixtureRequest) -> None:
    """The driver that answers is the one under test: that of the model's family, or of a folder that was given."""
    places, place = places_of(request.config), request.node.callspec.params["vfio_name"]
    ids = places.ids(vfio_name)
    answered = driver_for(ids.vendor, ids.device, vfio_name)
    problem = not_under_test(answered, *places.under_test(place))
    if problem is not None:
        pytest.fail(str(problem), pytrace=False)


@pytest.fixture
def kind(vfio_device: Device) -> type[Driver]:
    """The driver's class, for a device on which it was not started."""
    vfio_device.config.memory = True
    vendor, number = vfio_device.config.read(0, 2), vfio_device.config.read(2, 2)
    return family_for(vendor, number, vfio_device.name).load_driver(f"{vendor:04x}:{number:04x}")


@pytest.fixture
def idle(kind: type[Driver], vfio_device: Device) -> Iterator[Driver]:
    """A driver that was made and not started."""
    with kind(vfio_device) as made:
        yield made
