# SPDX-License-Identifier: Apache-2.0
"""Faults at the seam: what is asked of an open device, its windows and its address spaces, on any mount."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from vfio_ims.backends.kernel.access import access_refused
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.errors import VfioImsError
from vfio_ims.faults.bus import BusFaults
from vfio_ims.faults.calls import Calls
from vfio_ims.faults.registers import Registers
from vfio_ims.faults.running import Faults
from vfio_ims.faults.windows import FaultyWindow
from vfio_ims.platform.faults import Fault as Refusal
from vfio_ims.platform.faults import FaultKind
from vfio_ims.ports.covers import Covered
from vfio_ims.ports.values import IrqIndex, IrqSet

if TYPE_CHECKING:
    from vfio_ims.ports.address_space import AddressSpacePort
    from vfio_ims.ports.device import DevicePort

__all__ = ["PortFaults"]

_PLAIN = [
    "device_info", "region_info", "irq_info", "hot_reset_scope", "feature", "affinity", "set_affinity",
    "error_counts", "interrupt_remapping", "message_platform", "pasid_bits", "attach_pasid", "detach_pasid",
]  # fmt: skip
_SPACE = ["ranges", "page_sizes", "map", "map_file", "map_region", "unmap", "contiguous", "pin", "unmap_all"]
_SIGNALLED = (IrqIndex.ERR, IrqIndex.REQ)


class PortFaults:
    """Stands before ``port`` from now on, until ``end``. ``on_close`` is called when the port has closed."""

    def __init__(
        self, port: DevicePort, faults: Faults, registers: Registers, on_close: Callable[[], None] = lambda: None
    ) -> None:
        self._port, self.faults, self._on_close = port, faults, on_close
        self._covered = Covered()
        self._listeners: dict[int, int] = {}  # ERR and REQ: descriptors of our own
        self._spaces: set[int] = set()
        self._reset = self._bare_reset()
        events = {"lost": self._lose, "reset": self._reset_behind}
        events |= {index.name.lower(): partial(self._signal, index) for index in _SIGNALLED}
        self._calls = Calls(faults, registers, events)
        self._bus = self._cover_bus()
        for name in _PLAIN:
            self._covered.cover(port, name, partial(self._plain, name))
        for name in ("reset", "hot_reset"):
            self._covered.cover(port, name, partial(self._resetting, name))
        self._covered.cover(port, "window", self._window)
        self._covered.cover(port, "read_region", self._read_region)
        self._covered.cover(port, "write_region", self._write_region)
        self._covered.cover(port, "set_irqs", self._set_irqs)
        self._covered.cover(port, "new_space", self._new_space)
        self._covered.cover(port, "close", self._close)
        self.add_space(port.space)

    def _cover_bus(self) -> BusFaults | None:
        port = self._port
        if not isinstance(port, SoftwareDevice):
            return None
        window, log = port.platform.controller.window, port.platform.faults
        requester = port.function.requester

        def refused(address: int, size: int, data: int | None, why: str, write: bool) -> None:
            kind = FaultKind.MESSAGE if data is not None else FaultKind.DMA_WRITE if write else FaultKind.DMA_READ
            log.record(Refusal(kind, requester, address, size, why, data))

        message = lambda iova, size: size == 4 and iova in window  # noqa: E731
        return BusFaults(port.function, self.faults, self._covered, message, refused)

    @property
    def sees_the_bus(self) -> bool:
        """Whether what the device sends passes here: on the software platform."""
        return self._bus is not None

    def end(self) -> None:
        """No more faults: what was late and has not arrived never does."""
        self._covered.uncover()
        if self._bus is not None:
            self._bus.posted.end()
        for index in list(self._listeners):
            os.close(self._listeners.pop(index))

    def add_window(self, window: Any, region: int) -> None:
        """Stand before a window that is open already, too."""
        self._covered.cover_window(window, lambda inner: FaultyWindow(inner, region, self._calls))

    def add_listener(self, index: int, fd: int) -> None:
        """ERR or REQ is attached to ``fd``; -1: no longer."""
        if index in self._listeners:
            os.close(self._listeners.pop(index))
        if fd >= 0 and index in _SIGNALLED:
            with suppress(OSError):
                self._listeners[index] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)

    # --- events -------------------------------------------------------------------------------------------------------

    def _lose(self) -> str:
        self.faults.lost = True
        return "the device was lost"

    def _signal(self, index: IrqIndex) -> str:
        fd = self._listeners.get(index)
        if fd is None:
            return f"{index.name} was signalled, and has no listener"
        os.eventfd_write(fd, 1)
        return f"{index.name} was signalled"

    def _bare_reset(self) -> Callable[[], None]:
        port = self._port
        return port.link.reset if isinstance(port, SoftwareDevice) else port.reset

    def _reset_behind(self) -> str:
        try:
            self._reset()
        except VfioImsError as error:
            return f"the device was to be reset, and cannot: {error.why}"
        return "the device was reset"

    # --- verbs --------------------------------------------------------------------------------------------------------

    def _plain(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: self._calls.call(name, lambda: call(*arguments, **named))

    def _resetting(self, name: str, call: Callable[[], None]) -> Callable[[], None]:
        def covered() -> None:
            self._calls.before(name)
            if self.faults.lost and not self.faults.within:
                raise access_refused(errno.EIO, name, self._port.name)
            with self.faults.inside():
                call()

        return covered

    def _window(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def covered(index: int, guard: tuple[int, int] | None = None) -> Any:
            found = self._calls.call("window", lambda: call(index, guard))
            self.add_window(found, index)
            return found

        return covered

    def _read_region(self, call: Callable[..., bytes]) -> Callable[..., bytes]:
        def covered(index: int, offset: int, size: int) -> bytes:
            def read() -> int:
                with self.faults.inside():
                    return int.from_bytes(call(index, offset, size), "little")

            return self._calls.read(index, offset, size, read, "read_region").to_bytes(size, "little")

        return covered

    def _write_region(self, call: Callable[..., None]) -> Callable[..., None]:
        def covered(index: int, offset: int, data: bytes) -> None:
            def write() -> None:
                with self.faults.inside():
                    call(index, offset, data)

            self._calls.store("write_region", index, offset, write)

        return covered

    def _set_irqs(self, call: Callable[..., None]) -> Callable[..., None]:
        def covered(index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
            self._calls.call("set_irqs", lambda: call(index, flags, start, count, data))
            if index in _SIGNALLED and flags & IrqSet.ACTION_TRIGGER:
                given = data[0] if flags & IrqSet.DATA_EVENTFD and data else -1
                if flags & IrqSet.DATA_EVENTFD or not count:
                    self.add_listener(index, given)

        return covered

    def _new_space(self, call: Callable[[], AddressSpacePort]) -> Callable[[], AddressSpacePort]:
        def covered() -> AddressSpacePort:
            made = self._calls.call("new_space", call)
            self.add_space(made)
            return made

        return covered

    def add_space(self, space: AddressSpacePort) -> None:
        """Stand before an address space, once."""
        if id(space) not in self._spaces:
            self._spaces.add(id(space))
            for name in _SPACE:
                self._covered.cover(space, name, partial(self._plain, name))

    def _close(self, call: Callable[[], None]) -> Callable[[], None]:
        def covered() -> None:
            try:
                call()
            finally:
                self.end()
                self._on_close()

        return covered
