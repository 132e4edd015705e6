# SPDX-License-Identifier: Apache-2.0
"""An errno of the compiled layer as one of the package's errors, where no layer above knows better."""

import errno
import os

from vfio_ims.errors import AccessDenied, DeviceBusy, DeviceError, RemovedError, SetupError, UsageError, VfioImsError

__all__ = ["failed"]

_KINDS: dict[int, type[VfioImsError]] = {
    errno.EINVAL: UsageError,
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EBUSY: DeviceBusy,
    errno.ENODEV: RemovedError,
    errno.EIO: DeviceError,
    errno.ENOMEM: SetupError,
    errno.EMFILE: SetupError,
    errno.ENFILE: SetupError,
}


def failed(code: int, operation: str, label: str | None, why: str = "") -> VfioImsError:
    """The error for ``code``; DeviceError for one that says nothing about who has to act."""
    hint = ""
    if code == errno.EMFILE:
        hint = "ulimit -n shows how many descriptors this process may open; raise it, or close devices"
    elif code == errno.ENFILE:
        hint = "sysctl fs.file-max shows how many files the whole machine may have open"
    kind = _KINDS.get(code, DeviceError)
    return kind(
        operation, device=label, why=why or (os.strerror(code) if kind is UsageError else ""), hint=hint, errno=code
    )
