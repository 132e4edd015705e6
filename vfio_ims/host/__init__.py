# SPDX-License-Identifier: Apache-2.0
"""The machine that the devices are in: what is there, and what stands between a user and it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.host.binder import Binder
    from vfio_ims.host.description import Description, describe, describe_live
    from vfio_ims.host.events import DeviceEvent, DeviceEvents
    from vfio_ims.host.machine import Machine
    from vfio_ims.host.planning import Plan
    from vfio_ims.host.removal import RemovalWatch
    from vfio_ims.host.selection import Selection
    from vfio_ims.host.state import State
    from vfio_ims.host.survey import Candidate, Survey, candidates, unseen

    __all__ = [
        "Binder",
        "Candidate",
        "Description",
        "DeviceEvent",
        "DeviceEvents",
        "Machine",
        "Plan",
        "RemovalWatch",
        "Selection",
        "State",
        "Survey",
        "candidates",
        "describe",
        "describe_live",
        "unseen",
    ]

_PLACES = {
    "Binder": "binder",
    "Candidate": "survey",
    "Description": "description",
    "DeviceEvent": "events",
    "DeviceEvents": "events",
    "Machine": "machine",
    "Plan": "planning",
    "RemovalWatch": "removal",
    "Selection": "selection",
    "State": "state",
    "Survey": "survey",
    "candidates": "survey",
    "describe": "description",
    "describe_live": "description",
    "unseen": "survey",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, "__all__"})


def __getattr__(name: str) -> object:
    # Loaded on first use: binding needs nothing of what describing and diagnosing need.
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    if name == "__all__":  # pdoc and others that ask for all of it look at what is loaded
        globals().update({one: __getattr__(one) for one in _PLACES})
        return [*_PLACES]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
