# SPDX-License-Identifier: Apache-2.0
"""Exit statuses, and how an error is reported."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vfio_ims.cli.output import echo
from vfio_ims.errors import AccessDenied, SetupError, UsageError, VfioImsError

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "NOTHING",
    "NOT_READY",
    "OK",
    "USAGE",
    "ReaderLeft",
    "reader_left",
    "reading",
    "report",
]

OK, FAILED, USAGE, NOT_READY, NOTHING, INTERRUPTED = 0, 1, 2, 3, 4, 130


class ReaderLeft(Exception):
    """The reader of our output is gone: ``vfio-ims show DEVICE | head``.

    No OSError: click turns a broken pipe into status 1.
    """


@contextmanager
def reading() -> Iterator[None]:
    """Raises ReaderLeft in place of BrokenPipeError."""
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderLeft from error


def reader_left() -> int:
    """The status where the reader of our output is gone: that of a command which SIGPIPE ends, such as ``cat``.

    Standard output and error lead nowhere from now on: what is buffered is written when the interpreter ends.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return 128 + signal.SIGPIPE


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
