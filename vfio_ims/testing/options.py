# SPDX-License-Identifier: Apache-2.0
"""The plug-in's command-line options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from vfio_ims.testing import faults
from vfio_ims.testing.recording import MODES

if TYPE_CHECKING:
    import pytest

__all__ = ["ENVIRONMENT", "Scope", "add_options"]

ENVIRONMENT = "VFIO_IMS_DEVICE"
Scope = Literal["function", "class", "module", "package", "session"]


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("vfio-ims", "devices with IMS (vfio-ims)")
    group.addoption(
        "--vfio-device",
        action="append",
        default=[],
        metavar="NAME",
        help="run tests on this device: 0000:6a:01.0, vfio-user:SOCKET, mock:MODEL; repeatable. "
        f"Without it: {ENVIRONMENT} (several: separated by spaces), else models in this process.",
    )
    group.addoption(
        "--vfio-require", action="store_true", help="a test that no named device is one for fails, instead of a skip"
    )
    group.addoption(
        "--vfio-driver", action="append", default=[], metavar="PATH", help="load a private driver folder; repeatable"
    )
    group.addoption(
        "--vfio-scope",
        choices=get_args(Scope),
        default="function",
        help="how long the fixtures vfio_device and ims_driver keep a device open; %(default)s",
    )
    group.addoption(
        "--vfio-wait",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="how long a test waits for a device on which another process runs tests; %(default)g",
    )
    group.addoption(
        "--vfio-last",
        type=int,
        default=20,
        metavar="N",
        help="how many of the last accesses to its device, and interrupts, a failed test shows; %(default)s, 0: none",
    )
    group.addoption(
        "--vfio-check-limit",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="what a check of the conformance suite may take before the callback that hangs is named; 0: no limit",
    )
    group.addoption(
        "--vfio-record",
        choices=MODES,
        default="never",
        help="record what a test does with its devices; replay:FILE opens the file as a device",
    )
    group.addoption(
        "--vfio-record-dir", metavar="DIR", default="vfio-recordings", help="where the recordings go; %(default)s"
    )
    faults.add_options(group)
