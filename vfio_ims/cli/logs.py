# SPDX-License-Identifier: Apache-2.0
"""The package's log on stderr, as ``-v`` asks for it."""

from __future__ import annotations

import logging

from vfio_ims.printable import printable

__all__ = ["log_to_stderr"]


class _Formatter(logging.Formatter):
    """Records may name processes, devices and files of others."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")


def log_to_stderr(*, everything: bool) -> None:
    """Print the records of INFO and above, or of DEBUG too."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if everything else logging.INFO, handlers=[handler])
