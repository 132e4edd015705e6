# SPDX-License-Identifier: Apache-2.0
"""Functions on a platform without a device behind them: their vectors, and messages that they send."""

from __future__ import annotations

import os
from collections.abc import Sequence

from vfio_ims.messages import Message
from vfio_ims.platform import Function, Platform
from vfio_ims.platform.irqs import Irqs
from vfio_ims.ports.values import IrqIndex, IrqSet

ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
DISABLE = IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER


def count(fd: int) -> int:
    """Events since the last look."""
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def add(platform: Platform, vectors: int = 8) -> Function:
    """A function that may send, with MSI-X vectors and 4 of MSI."""
    function = platform.add()
    counts = {IrqIndex.MSIX: vectors, IrqIndex.MSI: 4, IrqIndex.REQ: 1}
    function.irqs = Irqs(
        "little",
        function.requester,
        counts,
        platform.controller,
        platform.lock,
        platform.signal,
        dynamic=platform.dynamic_msix,
    )
    function.bus_master = True
    return function


def attach(function: Function, start: int, fds: Sequence[int], index: int = IrqIndex.MSIX) -> list[Message]:
    """Attach vectors; the messages of those that have one then."""
    irqs = function.irqs
    assert irqs is not None
    irqs.set(index, ATTACH, start, len(fds), fds)
    kind = irqs.msix if index == IrqIndex.MSIX else irqs.msi
    return [message for number in range(start, start + len(fds)) if (message := kind.message(number))]


def send(function: Function, message: Message) -> None:
    """What a device does to raise an interrupt."""
    function.write(message.address, message.data.to_bytes(4, "little"))
