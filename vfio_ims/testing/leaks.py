# SPDX-License-Identifier: Apache-2.0
"""What a process holds of devices: descriptors, mappings, threads; for tests that nothing leaks."""

from __future__ import annotations

import gc
import os
import re
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vfio_ims.counted import counted

__all__ = ["Held", "held"]

_OURS = re.compile(r"memfd:|/dev/vfio|anon_inode:\[vfio|anon_inode:\[iommufd")


@dataclass(frozen=True)
class Held:
    """What was open, mapped and running at one moment: by name, each with how many there were."""

    descriptors: Counter[str]
    mappings: Counter[str]
    threads: Counter[str]

    def since(self, before: Held) -> str:
        """What has come since ``before``, in words; "" for nothing."""
        parts = []
        for what, now, then in (
            ("descriptor", self.descriptors, before.descriptors),
            ("mapping", self.mappings, before.mappings),
            ("thread", self.threads, before.threads),
        ):
            parts += [f"{counted(count, what)} of {name}" for name, count in (now - then).items()]
        return ", ".join(parts)


def held(*, collect: bool = True) -> Held:
    """Every descriptor and thread of this process, and its mappings of devices and shared memory.

    It collects garbage first. Without ``collect`` it does not, which costs less, and counts what garbage still holds.
    """
    if collect:
        gc.collect()
    descriptors: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the listing's own descriptor
            continue
        descriptors[target.split(":[")[0] if target.startswith(("pipe:", "socket:")) else target] += 1
    mappings: Counter[str] = Counter()
    for line in filter(_OURS.search, Path("/proc/self/maps").read_text().splitlines()):
        mappings["/" + (line.partition("/")[2] if "/" in line else line.rpartition(" ")[2])] += 1
    return Held(descriptors, mappings, Counter(thread.name for thread in threading.enumerate()))
