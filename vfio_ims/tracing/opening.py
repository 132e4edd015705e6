# SPDX-License-Identifier: Apache-2.0
"""What stands before the devices that are opened by name: recorders, faults; none, as a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ports.device import DevicePort

__all__ = ["OPENED", "opened", "unrecorded"]

Begin = Callable[["DevicePort"], Callable[["Device"], None]]

_UNRECORDED = ContextVar("_UNRECORDED", default=False)
OPENED: list[Begin] = []
"""Each is called with a port before anything is done with it, and what it returns with the device over it."""


def opened(port: DevicePort) -> list[Callable[[Device], None]]:
    """Begin each recorder with a new port; returns what to call with the device over it."""
    return [] if _UNRECORDED.get() else [begin(port) for begin in list(OPENED)]


@contextmanager
def unrecorded() -> Iterator[None]:
    """What is opened within is looked at, not used: it is not recorded."""
    token = _UNRECORDED.set(True)
    try:
        yield
    finally:
        _UNRECORDED.reset(token)
