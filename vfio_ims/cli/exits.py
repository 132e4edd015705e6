# SPDX-License-Identifier: Apache-2.0
"""Exit statuses, and how an error is reported."""

from __future__ import annotations

import errno

from vfio_ims.cli.output import echo
from vfio_ims.errors import AccessDenied, SetupError, UsageError, VfioImsError

__all__ = ["FAILED", "INTERRUPTED", "NOTHING", "NOT_READY", "OK", "USAGE", "report"]

OK, FAILED, USAGE, NOT_READY, NOTHING, INTERRUPTED = 0, 1, 2, 3, 4, 130


def report(error: Exception) -> int:
    """Print ``error`` to stderr, and return the status for it. An error that is not ours is a bug: it is raised."""
    if not isinstance(error, VfioImsError):
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            echo(f"vfio-ims: write the output: {error.strerror}", err=True)
            return FAILED
        raise error
    echo(f"vfio-ims: {error}", err=True)
    if isinstance(error, UsageError):
        return USAGE
    return NOT_READY if isinstance(error, (SetupError, AccessDenied)) else FAILED
