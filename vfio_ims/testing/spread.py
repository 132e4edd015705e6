# SPDX-License-Identifier: Apache-2.0
"""pytest-xdist: all tests of one device go to one process, so that none waits for another; the rest are spread."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["device_of", "scheduler"]


def device_of(nodeid: str, names: Sequence[str]) -> str:
    """Which of the devices in ``names`` is a parameter of the test; "" for none."""
    parameters = nodeid.partition("[")[2]
    for name in sorted(names, key=len, reverse=True):
        if re.search(rf"(^|-){re.escape(name)}(-|\])", parameters):
            return name
    return ""


def scheduler(config: pytest.Config, log: object, names: Sequence[str]) -> object:
    """In place of xdist's ``load``: a device is a unit of work, every other test one of its own."""
    from xdist.scheduler import LoadScopeScheduling

    class DeviceScheduling(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return device_of(nodeid, names) or nodeid

    return DeviceScheduling(config, log)
