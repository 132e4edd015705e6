# SPDX-License-Identifier: Apache-2.0
"""One function as a test on another machine uses it: opened beside the card, its calls take and return plain values.

Each call is a round trip, so that accesses are made in batches and whole runs (the self-test) are one call.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vfio_ims import __version__
from vfio_ims.device import Device
from vfio_ims.errors import DeviceTimeout, UsageError
from vfio_ims.names import open_device

__all__ = ["RemoteFunction"]

_WIDTHS = (1, 2, 4, 8)
_CONFIG = 7


class RemoteFunction:
    """The device called ``name``, opened when it is first used. Safe for threads: one call at a time.

    Opening resets the function and leaves memory decoding on and bus mastering off.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._device: Device | None = None
        self._vectors: dict[int, Any] = {}
        self._lock = threading.RLock()

    @property
    def device(self) -> Device:
        """The open device."""
        with self._lock:
            if self._device is None:
                self._device = open_device(self.name)
                self._device.config.memory = True
            return self._device

    def info(self) -> dict[str, Any]:
        """What it is, and where: ids, BARs' sizes by number, MSI-X vectors, the host's kernel."""
        with self._lock:
            device = self.device
            header = device.config.header
            bars = {str(bar): device.port.region_info(bar).size for bar in range(6)}
            return {
                "name": device.name,
                "mount": device.mount,
                "id": f"{header.vendor:04x}:{header.device:04x}",
                "bars": {bar: size for bar, size in bars.items() if size},
                "msix": device.interrupts.msix.count,
                "resettable": device.can_reset,
                "host": platform.node(),
                "kernel": platform.release(),
                "version": __version__,
            }

    def batch(self, operations: Sequence[Sequence[Any]]) -> list[int | None]:
        """Accesses in order; the value of each read and poll, None for each write.

        ``["read", region, offset, width]``, ``["write", region, offset, width, value]`` and ``["poll", region, offset,
        width, mask, expected, seconds]``; region 0 to 5 is a BAR, 7 config space; width in bytes. UsageError for one
        that is none of these, before any is made; DeviceTimeout where a poll ends without its value.
        """
        with self._lock:
            made = [self._access(operation) for operation in operations]
            return [access() for access in made]

    def _access(self, operation: Sequence[Any]) -> Callable[[], int | None]:
        match operation:
            case ["read", int(region), int(offset), int(width)] if width in _WIDTHS:
                return lambda: self._read(region, offset, width)
            case ["write", int(region), int(offset), int(width), int(value)] if width in _WIDTHS:
                return lambda: self._write(region, offset, width, value)
            case ["poll", int(region), int(offset), int(width), int(mask), int(expected), seconds] if width in _WIDTHS:
                return lambda: self._poll(region, offset, width, mask, expected, float(seconds))
        why = f"an operation must be read, write or poll with numbers after it, not {list(operation)!r}"
        raise UsageError("make a batch of accesses", device=self.name, why=why)

    def _read(self, region: int, offset: int, width: int) -> int:
        if region == _CONFIG:
            return self.device.config.read(offset, width)
        bar = self.device.bar(region)
        return {1: bar.read8, 2: bar.read16, 4: bar.read32, 8: bar.read64}[width](offset)

    def _write(self, region: int, offset: int, width: int, value: int) -> None:
        if region == _CONFIG:
            self.device.config.write(offset, value, width)
            return
        bar = self.device.bar(region)
        {1: bar.write8, 2: bar.write16, 4: bar.write32, 8: bar.write64}[width](offset, value)

    def _poll(self, region: int, offset: int, width: int, mask: int, expected: int, seconds: float) -> int:
        value = self.device.bar(region).poll(offset, width, mask, expected, seconds)
        if value & mask != expected:
            why = f"it is {value:#x} after {seconds:g} s, and {expected:#x} under the mask {mask:#x} was waited for"
            raise DeviceTimeout(f"poll BAR {region} at {offset:#x}", device=self.name, why=why)
        return value

    def reset(self) -> None:
        """The function's own reset; memory decoding is on afterwards."""
        with self._lock:
            self.device.reset()
            self.device.config.memory = True

    def listen(self, vector: int) -> None:
        """Attach an event to an MSI-X vector, and let the device be a bus master: ``wait_interrupt`` waits for it."""
        with self._lock:
            if vector not in self._vectors:
                self._vectors[vector] = self.device.interrupts.open_msix(vector)
            self.device.config.bus_master = True

    def wait_interrupt(self, vector: int, seconds: float) -> bool:
        """Whether an MSI-X vector that is listened to was raised since the last call; waits for it."""
        with self._lock:
            self.listen(vector)
            found = self._vectors[vector]
        return bool(found.wait(seconds))

    def selftest(self, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The self-test by the device's own driver, and its report (docs/json.md). What was open is closed first.

        ``options``: fields of ``selftest.Options``.
        """
        from vfio_ims import open_driver, selftest

        try:
            wanted = selftest.Options(**(options or {}))
        except TypeError as error:
            raise UsageError("set up a self-test", device=self.name, why=str(error)) from error
        with self._lock:
            self.close()
            with open_driver(self.name) as driver:
                return dict(selftest.run(driver, options=wanted).to_json())

    def close(self) -> None:
        """Close the device; idempotent. The next call opens it anew."""
        with self._lock:
            device, self._device = self._device, None
            self._vectors.clear()
            if device is not None:
                device.close()
