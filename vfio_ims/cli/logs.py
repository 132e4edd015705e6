# SPDX-License-Identifier: Apache-2.0
"""The package's log on stderr, as ``-v`` asks for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vfio_ims.errors import UsageError
from vfio_ims.printable import printable

__all__ = ["log_to_stderr"]


class _Formatter(logging.Formatter):
    """Records may name processes, devices and files of others."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")


_LEVELS = ("debug", "info", "warning", "error", "critical")


def log_to_stderr(*, everything: bool = False, chosen: Sequence[str] = ()) -> None:
    """Print the records of INFO and above, or of DEBUG too; ``chosen``: ``LOGGER=LEVEL``, of these loggers only.

    A logger is named as its module is, with or without ``vfio_ims.``. Raises UsageError for no such level.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(name)s: %(message)s"))
    if not chosen or everything:
        logging.basicConfig(level=logging.DEBUG if everything else logging.INFO, handlers=[handler])
    else:
        logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for text in chosen:
        name, equals, level = text.rpartition("=")
        if level.lower() not in _LEVELS or (equals and not name):
            why = f"it must be LOGGER=LEVEL with a LEVEL of {', '.join(_LEVELS)}, such as host=debug, not {text!r}"
            raise UsageError("choose a log", why=why)
        package = not name or name.partition(".")[0] == "vfio_ims"
        logging.getLogger(name or "vfio_ims" if package else f"vfio_ims.{name}").setLevel(level.upper())
