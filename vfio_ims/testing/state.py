# SPDX-License-Identifier: Apache-2.0
"""What a device looks like, for the report of a failed test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.driver import Driver
    from vfio_ims.ims import ImsDomain

__all__ = ["books_of", "domains_of", "driver_of", "state_of"]


def domains_of(device: Device) -> list[ImsDomain]:
    from vfio_ims.ims import ImsDomain

    return device.open_children(ImsDomain)


def driver_of(device: Device) -> Driver | None:
    """The driver that runs on the device; None where none does."""
    from vfio_ims.driver import Driver

    found = (domain.callbacks for domain in domains_of(device))
    return next((one for one in found if isinstance(one, Driver) and not one.closed), None)


def state_of(device: Device) -> str:
    """As the device says: its verdict, its driver's status, what is in its slots."""
    driver = driver_of(device)
    if driver is None or device.loss is not None or device.mount == "replay":
        return books_of(device)
    questions: list[Callable[[], object]] = [lambda: driver.verdict, driver.status, driver.ims.report]
    return "\n".join(_answers(questions))


def books_of(device: Device) -> str:
    """As this process has it in its books, without an access to the device."""
    questions: list[Callable[[], object]] = [lambda: device.loss or repr(device)]
    for domain in domains_of(device):
        questions += [partial(repr, domain), partial(_slots, domain)]
    return "\n".join(_answers(questions))


def _slots(domain: ImsDomain) -> str:
    return "\n".join(f"  slot {slot}: {domain.expected(slot)}" for slot in domain.allocated)


def _answers(questions: list[Callable[[], object]]) -> list[str]:
    """What each is answered with; a broken device must not hide why the test failed."""
    lines: list[str] = []
    for ask in questions:
        with contextlib.suppress(Exception):
            lines.append(str(ask()))
    return [line for line in lines if line]
