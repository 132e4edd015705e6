# SPDX-License-Identifier: Apache-2.0
"""What provision.sh has put on this machine for rivals: it alone knows the names in the cache, so it is asked."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.benchmarks.rivals.rows import LeftOut

__all__ = ["find"]

_SCRIPT = Path(__file__).with_name("provision.sh")


def find(name: str) -> Path:
    """The folder of ``libvfio_user`` or ``dma_perf``; LeftOut where it is not there."""
    asked = subprocess.run(["bash", str(_SCRIPT), "--paths"], capture_output=True, text=True, check=True)
    places = dict(line.split("=", 1) for line in asked.stdout.splitlines())
    place = Path(places[name])
    if not place.exists():
        raise LeftOut(f"{name} is not on this machine: run tests/benchmarks/rivals/provision.sh")
    return place
