# SPDX-License-Identifier: Apache-2.0
"""A verb in a terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def all_of(main: int) -> str:
    """What was printed into a terminal until its last program ended. Closes ``main``, the side that reads it."""
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:  # how a terminal ends
        pass
    os.close(main)
    return seen.decode()


def open_terminal() -> tuple[int, int]:
    """Both ends of a pseudo-terminal, the program's second. The test is skipped where the machine has none."""
    try:
        return pty.openpty()
    except OSError as error:
        pytest.skip(f"needs pseudo-terminals ({error}): mount -t devpts devpts /dev/pts")


def in_terminal(
    *arguments: str,
    width: int,
    status: int = 0,
    errors: bool = False,
    module: str = "vfio_ims.cli.main",
    **environment: str,
) -> list[str]:
    """The lines that ``module`` prints to stdout, or its ``errors``, without what colours them."""
    main, side = open_terminal()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    keep = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-X", "dev", "-m", module, *arguments]
    running = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL if errors else side,
        stderr=side if errors else subprocess.DEVNULL,
        stdin=side,
        env=keep | {"TERM": "xterm"} | environment,
    )
    os.close(side)
    seen = all_of(main)
    assert running.wait(60) == status
    return STYLE.sub("", seen).replace("\r\n", "\n").splitlines()
