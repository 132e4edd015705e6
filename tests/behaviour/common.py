# SPDX-License-Identifier: Apache-2.0
"""What the behavioural suite shares: where it runs, how long it waits, and small helpers.

One suite for every mount. Without ``--vfio-device`` it runs on models in this process and behind a vfio-user socket;
with it, on the named device, whatever answers there: ``pytest tests/behaviour --vfio-device 0000:00:10.0``.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import pytest

from vfio_ims.device import Device
from vfio_ims.driver import Driver
from vfio_ims.families import family_for
from vfio_ims.ims import FireStatus, ImsInterrupt, ImsTable
from vfio_ims.messages import Slot

__all__ = [
    "EVERYWHERE",
    "MAPPED",
    "TIMEOUT",
    "WHOLE",
    "arrives",
    "delivered",
    "driver_class",
    "fire",
    "in_child",
    "is_quiet",
    "table_of",
]

MODELS = (
    "amd-hdma",
    "minimal",
    "intel-dsa,slots=256",
    "intel-iaa,slots=256",
)  # a full table takes a tenth of a second to open

_DEVICES, _MOUNTS = ("1234:", "8086:", "10ee:"), ("mock", "vfio-user")

_CHILD = 20  # seconds until a child that hangs says where, and ends
EVERYWHERE = pytest.mark.vfio(model=MODELS, match=_DEVICES, mount=_MOUNTS)
"""The marker of every module here that is not about the mock alone."""

MAPPED = pytest.mark.vfio(
    model=(*MODELS, "intel-dsa,slots=256,map_slots=yes", "intel-dlb"), match=_DEVICES, mount=_MOUNTS
)
"""Also on a model whose slot table is memory that we map: it finds out by looking what was written there.

And on one whose slots are unmasked after a reset, in a BAR of 4 GiB, and whose driver cannot say which slot fired.
"""

WHOLE = pytest.mark.vfio(model=("minimal", "intel-dsa"), match=_DEVICES, mount=_MOUNTS)
"""With all the slots that Sapphire Rapids has."""

TIMEOUT = 30.0
"""Seconds that an interrupt may take before it counts as lost: an emulated machine is slow, and few waits run out."""


def driver_class(device: Device) -> type[Driver]:
    """The vendor driver's class for an open device."""
    vendor, number = device.config.read(0, 2), device.config.read(2, 2)
    return family_for(vendor, number, device.name).load_driver(f"{vendor:04x}:{number:04x}")


@contextmanager
def table_of(device: Device) -> Iterator[ImsTable]:
    """The slot table of a bare device, memory decoding on, no driver started. The device closes with the block."""
    device.config.memory = True
    with driver_class(device)(device) as driver:
        yield driver.ims_table()


class Waits(Protocol):
    def wait(self, timeout: float) -> bool: ...


def arrives(irq: Waits) -> bool:
    """Wait as long as it takes. A wake-up that was found at the timeout's last look was lost all the same."""
    began = time.monotonic()
    return irq.wait(TIMEOUT) and time.monotonic() - began < TIMEOUT / 2


def fire(driver: Driver, irq: ImsInterrupt) -> None:
    """Fire, and take the device's word that the message has left."""
    report = driver.fire(irq.slot)
    assert report.status is FireStatus.SENT, f"firing slot {irq.slot}: {report}"


def delivered(driver: Driver, irq: ImsInterrupt) -> bool:
    """Fire, and wait as long as it takes."""
    fire(driver, irq)
    return arrives(irq)


def is_quiet(table: ImsTable, slot: int) -> bool:
    """Whether an entry can send nothing: masked and zeroed."""
    return table.read(slot) == Slot()


def in_child(job: Callable[[], str]) -> str:
    """What ``job`` says in a forked child; where it does not come back, that it hangs, and where."""
    readable, writable = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads about: what this is a test of
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.register(signal.SIGALRM, file=writable, chain=True)
        signal.alarm(_CHILD)
        text = "nothing"
        with suppress(BaseException):
            try:
                text = job()
            except BaseException as error:  # noqa: BLE001 - reported to the parent
                text = f"{type(error).__name__}: {error}"
            os.write(writable, text.encode())
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as answers:
        said = answers.read().decode()
    _, status = os.waitpid(child, 0)
    return f"hangs: {said}" if os.waitstatus_to_exitcode(status) == -signal.SIGALRM else said
