# SPDX-License-Identifier: Apache-2.0
"""What an address of the engine reaches: memory behind the function's own BARs, or the host's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import BusFault

if TYPE_CHECKING:
    from vfio_ims.models import DeviceModel

__all__ = ["DeviceFault", "EngineMemory", "HostFault"]


class DeviceFault(Exception):
    """The device has no memory there."""


class HostFault(Exception):
    """The host did not answer a read."""


class EngineMemory:
    """Requests of the engine. An address inside one of the function's memory BARs is the device's own.

    So Linux words both list pointers and data windows. ``base``: where the device itself has the memory of BAR 2, where
    it says another address than the BAR's (AMD).
    """

    def __init__(self, model: DeviceModel, base: int | None = None) -> None:
        self._model, self._base = model, base

    def _own(self, address: int, size: int) -> tuple[int, int] | None:
        """The BAR that has ``address``, and where in it. DeviceFault where it ends before ``size`` bytes."""
        for number, bar in self._model.bars.items():
            if not bar.memory:
                continue
            starts = [self._model.bar_address(number)]
            if number == 2 and self._base is not None:
                starts.append(self._base)
            for start in starts:
                if start and 0 <= address - start < bar.size:
                    if address - start + size > bar.size:
                        raise DeviceFault
                    return number, address - start
        return None

    def is_own(self, address: int) -> bool:
        """Whether ``address`` is the device's own."""
        return self._own(address, 1) is not None

    def read(self, address: int, size: int) -> bytes:
        """Read. HostFault where the host does not answer; the model's lock may be free meanwhile."""
        own = self._own(address, size)
        if own is not None:
            return self._model.memory(own[0]).load(own[1], size)
        bus = self._model.bus
        if bus is None:
            raise HostFault
        try:
            return bus.read(address, size)
        except BusFault:
            raise HostFault from None

    def write(self, address: int, data: bytes) -> None:
        """Write. To the host it is posted: what is refused there is in the host's fault log, and not seen here."""
        own = self._own(address, len(data))
        if own is not None:
            self._model.memory(own[0]).store(own[1], data)
            return
        bus = self._model.bus
        if bus is not None:
            try:
                bus.write(address, data)
            except BusFault:
                return
