# SPDX-License-Identifier: Apache-2.0
"""Exit statuses, and how an error is reported."""

from __future__ import annotations

import errno

from vfio_ims.cli.output import echo
from vfio_ims.errors import AccessDenied, SetupError, UsageError, VfioImsError

__all__ = [
    "FAILED",
    "NOTHING",
    "NOT_READY",
    "OK",
    "USAGE",
    "report",
]

OK, FAILED, USAGE, NOT_READY, NOTHING = 0, 1, 2, 3, 4


def report(error: Exception) -> int:
    """Print ``error`` to stderr, and return the status for it. An error that is not ours is a bug, and is raised.

    One that went through a driver folder is reported with its place there, for its author.
    """
    if not isinstance(error, VfioImsError):
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            echo(f"vfio-ims: write the output: {error.strerror}", err=True)
            return FAILED
        from vfio_ims.authors import describe_failure, place_of
        from vfio_ims.families import private_folders

        if not place_of(error, private_folders()):
            raise error
        folder = next(one for one in private_folders() if place_of(error, [one]))
        echo(f"vfio-ims: the driver in {folder} fails: {describe_failure(error, [folder])}", err=True)
        echo("  next: correct that line; in Python the same error comes with its whole traceback", err=True)
        return FAILED
    echo(f"vfio-ims: {error}", err=True)
    if isinstance(error, UsageError):
        return USAGE
    return NOT_READY if isinstance(error, (SetupError, AccessDenied)) else FAILED
