# SPDX-License-Identifier: Apache-2.0
"""What a process holds of devices: descriptors, mappings, threads; for tests that nothing leaks."""

from __future__ import annotations

import gc
import os
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vfio_ims.counted import counted

__all__ = ["Held", "held"]

_OURS = ("memfd:", "/dev/vfio", "anon_inode:[vfio", "anon_inode:[iommufd")


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


def held() -> Held:
    """Every descriptor and thread of this process, and its mappings of devices and shared memory.

    Collects garbage first.
    """
    gc.collect()
    descriptors: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the listing's own descriptor
            continue
        descriptors[target.split(":[")[0] if target.startswith(("pipe:", "socket:")) else target] += 1
    mappings: Counter[str] = Counter()
    for line in Path("/proc/self/maps").read_text().splitlines():
        name = line.partition("/")[2] if "/" in line else line.rpartition(" ")[2]
        if any(ours in f"/{name}" for ours in _OURS):
            mappings[f"/{name}"] += 1
    return Held(descriptors, mappings, Counter(thread.name for thread in threading.enumerate()))
