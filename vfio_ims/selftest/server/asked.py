# SPDX-License-Identifier: Apache-2.0
"""What every check of a vfio-user server is handed: the open link, the write that raises an interrupt."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from vfio_ims.errors import DeviceError, RemovedError, VfioImsError
from vfio_ims.native.events import new_eventfd
from vfio_ims.ports.values import IrqIndex, IrqSet
from vfio_ims.selftest.report import Outcome
from vfio_ims.vfio_user import SocketLink

__all__ = ["TRIGGER", "Asked", "Fire", "NotApplicable", "ServerCheck", "Wrong"]

EVENTFDS = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
TRIGGER = IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER
_KINDS = (IrqIndex.INTX, IrqIndex.MSI, IrqIndex.MSIX, IrqIndex.ERR, IrqIndex.REQ)


@dataclass(frozen=True, slots=True)
class Fire:
    """The write that makes the device raise ``vector`` of the kind ``index``.

    ``value``, of ``width`` bytes, goes to ``offset`` of ``region``.
    """

    region: int
    offset: int
    width: int
    value: int
    index: int = IrqIndex.INTX
    vector: int = 0


@dataclass(frozen=True, slots=True)
class ServerCheck:
    """One check: what was asked, and what came of it."""

    name: str
    outcome: Outcome
    text: str

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return {"name": self.name, "outcome": self.outcome.value, "text": self.text}


class Wrong(Exception):
    """The server did something else; the text says what."""


class NotApplicable(Exception):
    """There is nothing to be asked; the text says why."""


class Asked:
    """The open link, with what every check needs."""

    def __init__(self, link: SocketLink, fire: Fire | None, timeout: float) -> None:
        self.link, self.fire, self.timeout = link, fire, timeout
        self.info = link.device_info()
        self.kinds = [index for index in _KINDS if index < self.info.irqs and link.irq_info(index).count]

    @contextmanager
    def attached(self, index: int, count: int) -> Iterator[list[int]]:
        """Eventfds at the first ``count`` vectors, disabled and closed afterwards."""
        with ExitStack() as stack:
            fds = []
            for number in range(count):
                fds.append(new_eventfd(f"vector {number}"))
                stack.callback(os.close, fds[-1])
            self.link.set_irqs(index, EVENTFDS, 0, count, fds)
            try:
                yield fds
            finally:
                with suppress(VfioImsError):
                    self.link.set_irqs(index, TRIGGER, 0, 0)

    def events(self, fd: int, *, wait: bool) -> int:
        """How often it was signalled; ``wait``: for the first one."""
        poller = select.poll()  # select() takes no descriptors beyond 1023
        poller.register(fd, select.POLLIN)
        if not poller.poll((self.timeout if wait else self.link.settle) * 1000):
            return 0
        return os.eventfd_read(fd)

    def refused(self, what: str, action: Callable[[], object]) -> None:
        """``action`` must be refused; what the server does instead is a finding."""
        try:
            action()
        except RemovedError:
            raise
        except DeviceError:
            return
        raise Wrong(f"{what} was not refused")
