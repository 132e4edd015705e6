# SPDX-License-Identifier: Apache-2.0
"""What a server of an opened function refuses, as the error that opening it here would have given."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from vfio_ims.errors import DeviceBusy, DeviceError, RemovedError, UnsupportedError, UsageError, VfioImsError

__all__ = ["in_words"]

_KINDS: dict[int, type[VfioImsError]] = {
    errno.EINVAL: UsageError,
    errno.ERANGE: UsageError,
    errno.EFAULT: UsageError,
    errno.EBUSY: DeviceBusy,
    errno.EEXIST: DeviceBusy,
    errno.ENOSPC: DeviceBusy,
    errno.ENOMEM: DeviceBusy,
    errno.ENOTTY: UnsupportedError,
    errno.EOPNOTSUPP: UnsupportedError,
    errno.ENODEV: RemovedError,
}


@contextmanager
def in_words(operation: str, name: str) -> Iterator[None]:
    """Raise a refusal's errno as the error of its kind; what ended the connection passes."""
    try:
        yield
    except RemovedError:
        raise
    except DeviceError as error:
        kind = _KINDS.get(error.errno or 0, DeviceError)
        hint = "the server's log says why (vfio-ims -v serve)"
        raise kind(operation, device=name, why="the server refused", hint=hint, errno=error.errno) from error
