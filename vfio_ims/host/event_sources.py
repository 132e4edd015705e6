# SPDX-License-Identifier: Apache-2.0
"""Where news of devices comes from: udev's or the kernel's events, or polling."""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vfio_ims.host.udev import context, udev_running
from vfio_ims.pci import PciAddress

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine

__all__ = ["EventSource", "PollingSource", "UdevSource", "best_source"]

_BUFFER = 16 << 20
INTERVAL = 1.0


class EventSource(Protocol):
    """Says which functions to look at again. What happened to them is seen by looking, so no event is ever needed."""

    @property
    def interval(self) -> float | None:
        """Seconds after which to look although nothing was heard; None: no need."""
        ...

    def fileno(self) -> int:
        """Readable when there is news; -1: never."""
        ...

    def news(self) -> set[PciAddress] | None:
        """Functions to look at, without waiting; None: news was lost, look at all."""
        ...

    def close(self) -> None: ...


class UdevSource:
    """pyudev's monitor. ``kind`` "udev": after udevd has applied its rules; "kernel": as the kernel reports it."""

    interval: float | None = None

    def __init__(self, kind: str, root: Path = Path("/sys")) -> None:
        import pyudev

        self._root = root
        self._monitor: Any = pyudev.Monitor.from_netlink(context(), source=kind)
        for subsystem in ("pci", "vfio", "vfio-dev"):
            self._monitor.filter_by(subsystem)
        with suppress(OSError):  # beyond net.core.rmem_max only root may; what overflows is looked up
            self._monitor.set_receive_buffer_size(_BUFFER)
        self._monitor.start()
        self._poll = select.poll()
        self._poll.register(self._monitor.fileno(), select.POLLIN)

    def fileno(self) -> int:
        return int(self._monitor.fileno())

    def news(self) -> set[PciAddress] | None:
        found: set[PciAddress] = set()
        lost = False
        while ready := self._poll.poll(0):
            if ready[0][1] & select.POLLERR:
                # The kernel had more than the buffer holds (ENOBUFS); reading the error clears it.
                lost = True
                with socket.socket(fileno=os.dup(self._monitor.fileno())) as same:
                    same.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                continue
            try:
                device = self._monitor.poll(0)
            except OSError:
                lost = True
                continue
            if device is not None:
                found |= self._about(device.sys_path, device.subsystem)
        return None if lost else found

    def _about(self, path: str, subsystem: str | None) -> set[PciAddress]:
        for part in reversed(Path(path).parts):
            if PciAddress.looks_like(part):
                return {PciAddress.parse(part)}
        if subsystem == "vfio":  # a group's node: its members
            folder = self._root / "kernel/iommu_groups" / Path(path).name / "devices"
            try:
                return {PciAddress.parse(name) for name in os.listdir(folder) if PciAddress.looks_like(name)}
            except OSError:
                return set()
        return set()

    def close(self) -> None:
        self._monitor = None  # its finaliser closes the socket


class PollingSource:
    """No events at all, as in containers: everything is looked at every second."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval: float | None = interval

    def fileno(self) -> int:
        return -1

    def news(self) -> set[PciAddress] | None:
        return None

    def close(self) -> None:
        """Nothing to close."""


def best_source(machine: Machine) -> UdevSource | PollingSource:
    """The best source here: udev's events where udevd runs, the kernel's where only it does, else polling."""
    if not machine.live or context() is None:
        return PollingSource()
    try:
        return UdevSource("udev" if udev_running() else "kernel")
    except OSError:  # a sandbox without netlink
        return PollingSource()
