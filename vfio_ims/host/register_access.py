# SPDX-License-Identifier: Apache-2.0
"""Reading and writing single registers: of an open device, or through sysfs of one that is left as it is."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Protocol

from vfio_ims.counted import counted
from vfio_ims.errors import AccessDenied, DeviceError, SetupError, UsageError
from vfio_ims.host.register_names import Place
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.native.window import MappedWindow, Piece
from vfio_ims.pci.capabilities import MSIX_ENTRY_SIZE, Capabilities
from vfio_ims.pci.header import Command, Status

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ports.window import Window
    from vfio_ims.sysfs import Function

__all__ = ["OpenRegisters", "Registers", "SysfsRegisters", "decoded"]


class Registers(Protocol):
    """Something whose registers can be read and written."""

    name: str

    @property
    def capabilities(self) -> Capabilities: ...
    def read(self, place: Place) -> int: ...
    def write(self, place: Place, value: int) -> None: ...
    def close(self) -> None: ...


def _load(window: Window, place: Place) -> int:
    if place.width > 8:
        return int.from_bytes(window.read_block(place.offset, place.width // 8, 8), "little")
    value: int = getattr(window, f"read{place.width * 8}")(place.offset)
    return value


def _store(window: Window, place: Place, value: int) -> None:
    if place.width > 8:
        window.write_block(place.offset, value.to_bytes(place.width, "little"), 8)
    else:
        getattr(window, f"write{place.width * 8}")(place.offset, value)


class OpenRegisters:
    """Of an open device. Memory decoding is turned on with the first access to a BAR."""

    def __init__(self, device: Device) -> None:
        self._device, self.name = device, device.name

    @property
    def capabilities(self) -> Capabilities:
        return self._device.capabilities

    def _window(self, bar: int) -> Window:
        if not self._device.config.memory:
            self._device.config.memory = True
        return self._device.bar(bar).window

    def read(self, place: Place) -> int:
        """One read of the register's width."""
        if place.bar is None:
            return self._device.config.read(place.offset, place.width)
        return _load(self._window(place.bar), place)

    def write(self, place: Place, value: int) -> None:
        """One write of the register's width. The MSI-X table is refused."""
        if place.bar is None:
            self._device.config.write(place.offset, value, place.width)
        else:
            _store(self._window(place.bar), place, value)

    def close(self) -> None:
        """The device is its owner's."""


class SysfsRegisters:
    """Of a function that is not opened for it: what setpci does, and the same for BARs. Changes nothing by itself."""

    def __init__(self, function: Function) -> None:
        self._function, self.name = function, str(function)
        if function.capabilities is None:
            raise SetupError("read config space", device=self.name, why="it cannot be read in sysfs")
        self.capabilities: Capabilities = function.capabilities
        self._windows: dict[int, MappedWindow] = {}

    def read(self, place: Place) -> int:
        """One read of the register's width."""
        if place.bar is not None:
            return _load(self._window(place.bar), place)
        descriptor = self._open("config", os.O_RDONLY)
        try:
            data = os.pread(descriptor, place.width, place.offset)
        finally:
            os.close(descriptor)
        if len(data) != place.width:
            why = (
                f"the kernel shows this user {counted(len(self.capabilities.config), 'byte')}, and {place} lies beyond"
            )
            raise AccessDenied(f"read {place}", device=self.name, why=why, hint="the same command with sudo")
        return int.from_bytes(data, "little")

    def write(self, place: Place, value: int) -> None:
        """One write of the register's width. The MSI-X table is refused."""
        if place.bar is not None:
            _store(self._window(place.bar), place, value)
            return
        descriptor = self._open("config", os.O_WRONLY)
        try:
            os.pwrite(descriptor, value.to_bytes(place.width, "little"), place.offset)
        except OSError as error:
            raise DeviceError(f"write {place}", device=self.name, errno=error.errno) from error
        finally:
            os.close(descriptor)

    def _open(self, name: str, flags: int) -> int:
        path = self._function.path / name
        try:
            return os.open(path, flags | os.O_CLOEXEC)
        except OSError as error:
            operation = f"open {path}"
            if error.errno in (errno.EACCES, errno.EPERM):
                locked = os.path.exists("/sys/kernel/security/lockdown")
                why = "only root may" + (", and not where the kernel is locked down" if locked else "")
                hint = "the same command with sudo, or --live through VFIO"
                raise AccessDenied(operation, device=self.name, why=why, hint=hint, errno=error.errno) from error
            raise SetupError(operation, device=self.name, errno=error.errno) from error

    def _window(self, bar: int) -> MappedWindow:
        if bar not in self._windows:
            size = (self._function.bar_sizes or {}).get(bar, 0)
            operation = f"map BAR {bar}"
            if not size:
                raise UsageError(operation, device=self.name, why="the function has no such BAR")
            command = self.capabilities.config.header.command
            if not command & Command.MEMORY:
                why = "memory decoding is off, so nothing would answer"
                hint = f"--live, which opens and resets it; or first: sudo vfio-ims write {self.name} COMMAND=2:2"
                raise DeviceError(operation, device=self.name, why=why, hint=hint)
            descriptor = Descriptor(self._open(f"resource{bar}", os.O_RDWR), f"{self.name} resource{bar}")
            try:
                pieces = [Piece(descriptor.fileno(), 0, 0, size, True)]
                self._windows[bar] = MappedWindow(size, pieces, guard=self._guard(bar), label=f"{self.name} BAR {bar}")
            finally:
                descriptor.close()
        return self._windows[bar]

    def _guard(self, bar: int) -> tuple[int, int] | None:
        msix = self.capabilities.msix
        if msix is None or msix.table[0] != bar:
            return None
        return msix.table[1], msix.table[1] + msix.vectors * MSIX_ENTRY_SIZE

    def close(self) -> None:
        """Unmap what was mapped."""
        for window in self._windows.values():
            window.close()


def decoded(place: Place, value: int, capabilities: Capabilities) -> str:
    """What the bits mean, in one line; empty where nothing is known of them."""
    if place.declared:
        words = repr(place.declared[0].value(value))
        return words.partition(" (")[2].removesuffix(")")
    if place.bar is not None:
        return ""
    if place.offset == 4 and place.width >= 2:
        return " ".join(flag.name.lower() for flag in Command if value & flag and flag.name)
    if place.offset == 6 and place.width == 2:
        return " ".join(flag.name.lower() for flag in Status if value & flag and flag.name)
    return _capability_fields(place, value, capabilities)


def _capability_fields(place: Place, value: int, capabilities: Capabilities) -> str:
    """The declared fields that lie wholly within the register."""
    for capability in capabilities:
        if capability.offset <= place.offset < capability.offset + len(capability.data):
            parts = [capability.title]
            for one in capability.declared:
                at = (capability.offset + one.offset - place.offset) * 8
                low, high = at + one.low, at + one.high
                if low >= 0 and high < place.width * 8:
                    number = value >> low & (1 << high - low + 1) - 1
                    parts.append(f"{one.name}={number << one.shift:#x}")
            return f"{parts[0]}: {' '.join(parts[1:])}" if parts[1:] else parts[0]
    return ""
