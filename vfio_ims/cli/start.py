# SPDX-License-Identifier: Apache-2.0
"""The console script: ``--help`` and ``--version`` need neither click nor a verb, everything else is ``main``'s."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vfio_ims import __version__

__all__ = ["WIDTHS", "main", "prepared"]

WIDTHS = (80, 100)
"""Columns for which the help is kept as click formats it: a pipe's, and a terminal's that has as many or more.

``.ci/help.py`` writes ``help-80.txt`` and ``help-100.txt`` beside this; a test compares them with click's.
"""


def main() -> None:
    """Print what is prepared for the command line, or hand it to ``vfio_ims.cli.main``."""
    text = prepared(sys.argv[1:])
    if text is None or not _printed(text):
        from vfio_ims.cli.main import main as whole

        whole()


def prepared(words: list[str]) -> str | None:
    """What ``vfio-ims`` with these arguments prints, if that is a text that does not depend on more."""
    if "_VFIO_IMS_COMPLETE" in os.environ:  # the shell asks what may follow
        return None
    if words in (["-V"], ["--version"]):
        return f"vfio-ims, version {__version__}\n"
    if words not in (["-h"], ["--help"]):
        return None
    columns = min(_columns(), WIDTHS[-1])
    return Path(__file__).with_name(f"help-{columns}.txt").read_text() if columns in WIDTHS else None


def _columns() -> int:
    """As ``shutil.get_terminal_size`` has them, which costs more to load than all of this."""
    try:
        columns = int(os.environ.get("COLUMNS", 0))
        if columns <= 0 and sys.__stdout__ is not None:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns if columns > 0 else WIDTHS[0]


def _printed(text: str) -> bool:
    """Write it to stdout in one piece. False where that fails: ``main`` knows what to do then, and says it."""
    try:
        descriptor, left = sys.stdout.fileno(), text.encode(sys.stdout.encoding)
        while left:
            left = left[os.write(descriptor, left) :]
    except (AttributeError, OSError, ValueError):
        return False
    return True


if __name__ == "__main__":
    main()
