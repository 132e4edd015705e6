# SPDX-License-Identifier: Apache-2.0
"""What a test left behind of its devices: descriptors, mappings, threads, and on models slots, vectors and IOVAs."""

from __future__ import annotations

import time
import weakref
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vfio_ims.errors import VfioImsError
from vfio_ims.testing.leaks import held
from vfio_ims.tracing.opening import OPENED

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ports.device import DevicePort

__all__ = ["Watch", "left_behind"]

_ENDING = 2.0  # seconds: a thread that was asked to end may take a moment


class Watch:
    """What is held when the block is entered, and the ports that are opened within it."""

    def __enter__(self) -> Self:
        self.before = held()
        self.ports: list[DevicePort] = []
        self._devices: list[weakref.ref[Device]] = []
        OPENED.append(self._opened)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        OPENED.remove(self._opened)
        self.ports.clear()
        self._devices.clear()

    def _opened(self, port: DevicePort) -> Any:
        self.ports.append(port)
        return lambda device: self._devices.append(weakref.ref(device))

    @property
    def devices(self) -> list[Device]:
        """Those that were opened and are not forgotten: a test may be about what happens to those."""
        return [device for one in self._devices if (device := one()) is not None]


def left_behind(watch: Watch, *, opening: bool) -> str:
    """What there is more than before the block, in words; "" for nothing.

    ``opening``: it failed while a device was being opened, which had to be closed then. Others that are open are the
    test's own, which did not come to close them: they are closed here, and are to leave nothing.
    """
    found = [f"{device.name} was left open" for device in watch.devices if opening and not device.closed]
    for device in watch.devices:
        with suppress(VfioImsError):
            device.close()
    found += [words for port in watch.ports if (words := _of_device(port))]
    watch.ports.clear()
    deadline = time.monotonic() + _ENDING
    while (more := held().since(watch.before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return "; ".join(found + ([more] if more else []))


def _of_device(port: DevicePort) -> str:
    """What a closed device on the software platform has still: it should have nothing, and do nothing."""
    from vfio_ims.backends.software.device import SoftwareDevice

    if not isinstance(port, SoftwareDevice):
        return ""
    if not port.closed:
        port.close()
        return f"{port.name} was left open, and is no device"
    if port.function in port.platform.functions:
        return f"{port.name} is still on its platform"
    model: Any = getattr(port.link, "model", None)
    if model is not None and model.config.bus_master:
        for table in getattr(model, "tables", ()):
            for index in range(table.layout.count if table.fd < 0 else 0):
                slot = table.slot(index)
                if slot.message and not slot.masked:
                    return f"{port.name}: slot {index} still holds {slot}, and the device may send"
    return ""
