# SPDX-License-Identifier: Apache-2.0
"""The one way in which this package changes sysfs."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from vfio_ims.errors import AccessDenied, DeviceBusy, DeviceError, SetupError, VfioImsError

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine

__all__ = ["Writer"]


class Writer:
    """Writes attributes of ``machine``'s sysfs: each in one write, never making a file."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def write(self, path: str, text: str, device: str | None = None) -> None:
        """``path`` counts from /sys. Raises AccessDenied, DeviceBusy, SetupError or DeviceError, by what it says."""
        try:
            self.put(path, text)
        except OSError as error:
            raise self._refused(error.errno or 0, path, text, device) from error

    def put(self, path: str, text: str) -> None:
        """The bare write. Raises OSError."""
        descriptor = os.open(self.machine.sys / path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def _refused(self, code: int, path: str, text: str, device: str | None) -> VfioImsError:
        operation = f"write {text.strip()!r} to /sys/{path}"
        if code in (errno.EACCES, errno.EPERM):
            why = f"only root may, and this is {self.machine.user.name}"
            return AccessDenied(operation, device=device, why=why, hint="the same command with sudo", errno=code)
        if code == errno.EROFS:
            why = "sysfs is mounted read-only here, as containers have it"
            return SetupError(operation, device=device, why=why, hint="bind on the host, outside", errno=code)
        if code == errno.ENOENT:
            why = "there is no such file: the function or the driver has gone"
            return SetupError(operation, device=device, why=why, hint="vfio-ims list", errno=code)
        if code == errno.EBUSY:
            return DeviceBusy(operation, device=device, hint="dmesg | tail", errno=code)
        if code == errno.ENODEV:
            why = "the driver does not take this function, or the function has gone"
            return SetupError(operation, device=device, why=why, hint="dmesg | tail", errno=code)
        return DeviceError(operation, device=device, hint="dmesg | tail", errno=code)
