# SPDX-License-Identifier: Apache-2.0
"""A device's interrupts as SET_IRQS reaches them, and what its tests ask of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import pytest

from vfio_ims.errors import VfioImsError
from vfio_ims.platform.irqs import Irqs
from vfio_ims.platform.vectors import merging
from vfio_ims.platform.vtd import VtdRemapping
from vfio_ims.ports.values import IrqIndex, IrqSet

NONE, BOOL, EVENTFD = IrqSet.DATA_NONE, IrqSet.DATA_BOOL, IrqSet.DATA_EVENTFD
MASK, UNMASK, TRIGGER = IrqSet.ACTION_MASK, IrqSet.ACTION_UNMASK, IrqSet.ACTION_TRIGGER
INTX, MSI, MSIX, ERR, REQ = IrqIndex
COUNTS = {INTX: 1, MSI: 4, MSIX: 8, ERR: 1, REQ: 1}


class Recorder:
    """Which vectors the device side was notified of."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, list[bool]]] = []

    def __call__(self, index: int, start: int, armed: Sequence[bool]) -> None:
        self.calls.append((index, start, list(armed)))


def make(*, dynamic: bool = True, entries: int = 64, changed: Recorder | None = None) -> Irqs:
    return Irqs(
        "little",
        8,
        COUNTS,
        VtdRemapping(entries),
        threading.Lock(),
        merging("never"),
        dynamic=dynamic,
        changed=changed or Recorder(),
    )


def count(fd: int) -> int:
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def refused(irqs: Irqs, index: int, flags: int, start: int, number: int, data: Sequence[int] = ()) -> int | None:
    with pytest.raises(VfioImsError) as caught:
        irqs.set(index, flags, start, number, data)
    assert caught.value.device == "little"
    assert caught.value.why
    return caught.value.errno
