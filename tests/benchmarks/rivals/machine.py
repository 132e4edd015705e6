# SPDX-License-Identifier: Apache-2.0
"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["describe"]


def describe() -> str:
    """A sentence: processor, how many of it, how busy, kernel, Python, commit, day."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    cores = len(os.sched_getaffinity(0))
    load, _, _ = os.getloadavg()
    virtual = " of a virtual machine" if "hypervisor" in Path("/proc/cpuinfo").read_text() else ""
    return (
        f"{model[1] if model else platform.machine()}, {cores} processors{virtual}, Linux {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}, commit "
        f"{_commit()}; {load:.1f} processes wanted a processor when it began."
    )


def _commit() -> str:
    here = Path(__file__).parent
    asked = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=here, capture_output=True, text=True)
    if asked.returncode:
        return "unknown"
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=here, check=False).returncode
    return asked.stdout.strip() + (" with changes" if changed else "")
