# SPDX-License-Identifier: Apache-2.0
"""The kernel's "no", as the software platform says it: an error of our tree that carries the kernel's errno."""

from __future__ import annotations

import errno

from vfio_ims.errors import DeviceBusy, DeviceError, UnsupportedError, UsageError, VfioImsError

__all__ = ["refusal"]

_KINDS: dict[int, type[VfioImsError]] = {
    errno.EINVAL: UsageError,
    errno.EBADF: UsageError,
    errno.EOVERFLOW: UsageError,
    errno.EEXIST: DeviceBusy,
    errno.EBUSY: DeviceBusy,
    errno.ENOSPC: DeviceBusy,
    errno.ENOTTY: UnsupportedError,
    errno.EOPNOTSUPP: UnsupportedError,
}


def refusal(code: int, operation: str, *, device: str | None = None, why: str = "", hint: str = "") -> VfioImsError:
    """The error for errno ``code``: whose fault it is decides the class."""
    return _KINDS.get(code, DeviceError)(operation, device=device, why=why, hint=hint, errno=code)
