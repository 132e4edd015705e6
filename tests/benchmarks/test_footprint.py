# SPDX-License-Identifier: Apache-2.0
"""What the package costs to load: memory, and the time of ``--help`` as a multiple of bare Python with click."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

_OPEN = "import vfio_ims\nwith vfio_ims.open_driver('mock:intel-dsa') as d: d.ims.allocate()\n"
# The most since exec: getrusage would also count what the process that forked it had.
_SIZE = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def test_an_open_mock_stays_under_60_megabytes() -> None:
    done = subprocess.run([sys.executable, "-c", _OPEN + _SIZE], capture_output=True, text=True, check=True, timeout=60)
    kilobytes = int(done.stdout)
    print(f"\nresident with an open mock:intel-dsa: {kilobytes / 1024:.1f} MB")
    assert kilobytes < 60 * 1024


def test_help_costs_little_over_loading_click(race: Any) -> None:
    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, timeout=60)

    race(
        "vfio-ims --help",
        lambda: run("-m", "vfio_ims.cli.main", "--help"),
        lambda: run("-c", "import click"),
        against="python -c 'import click'",
        at_most=0.9,
        missed="click is loaded for it, and all verbs are",
    )
