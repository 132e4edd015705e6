# SPDX-License-Identifier: Apache-2.0
"""What the plug-in keeps for a run and for each test, and the device that a test runs on."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest

from vfio_ims import __version__
from vfio_ims.testing.marker import Wanted

if TYPE_CHECKING:
    from vfio_ims.testing.admission import Admission
    from vfio_ims.testing.clean import Cleaner
    from vfio_ims.testing.opened import OpenDevices
    from vfio_ims.testing.places import Place, Places
    from vfio_ims.testing.recording import TestRecording

__all__ = ["ADMISSION", "CLEANER", "FAILED", "ITEM", "OPENED", "PLACES", "RECORDING", "admit", "place_of", "places_of"]

PLACES: pytest.StashKey[Places] = pytest.StashKey()
OPENED: pytest.StashKey[OpenDevices] = pytest.StashKey()
ADMISSION: pytest.StashKey[Admission] = pytest.StashKey()
CLEANER: pytest.StashKey[Cleaner] = pytest.StashKey()
FAILED: pytest.StashKey[bool] = pytest.StashKey()
ITEM: pytest.StashKey[pytest.Item] = pytest.StashKey()
RECORDING: pytest.StashKey[TestRecording] = pytest.StashKey()


def places_of(config: pytest.Config) -> Places:
    """The run's devices: for a test that needs a second one."""
    return config.stash[PLACES]


def place_of(item: pytest.Item) -> Place | None:
    found: Place | None = item.callspec.params.get("vfio_name") if hasattr(item, "callspec") else None
    return found


def admit(item: pytest.Item, place: Place) -> None:
    """Name the device in the test's report, and skip or fail the test where it cannot run there."""
    from vfio_ims.testing.named import mount_of

    config = item.config
    if place.kind != "none":
        name, mount = (place.name, mount_of(place.name)) if place.kind == "device" else (str(place), place.kind)
        item.user_properties += [
            ("vfio_device", name),
            ("vfio_mount", mount),
            ("kernel", platform.release()),
            ("vfio_ims", __version__),
            ("python", platform.python_version()),
        ]
    config.stash[ADMISSION].admit(place, Wanted.of(item), item.nodeid)
