# SPDX-License-Identifier: Apache-2.0
"""How long a fuzzer runs, from which seed, and the figures that it prints at the end."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator

__all__ = ["Budget"]

_GATE = 3.0  # seconds of each fuzzer where nothing is asked for


class Budget:
    """Rounds of one fuzzer: each with a random generator of its own, whose seed reproduces it.

    ``VFIO_IMS_FUZZ``: seconds for each fuzzer. ``VFIO_IMS_FUZZ_SEED``: one round, the one that failed.
    """

    def __init__(self, name: str, *, most: int) -> None:
        self.name, self.figures, self._most = name, Counter[str](), most
        self._seconds = float(os.environ.get("VFIO_IMS_FUZZ", _GATE))
        self._long = "VFIO_IMS_FUZZ" in os.environ
        self._only = os.environ.get("VFIO_IMS_FUZZ_SEED")

    def rounds(self) -> Iterator[random.Random]:
        """Until the time is over; in the gate no more than ``most``, and the same ones each time."""
        first = time.time_ns() if self._long else 0
        end, began = time.monotonic() + self._seconds, time.monotonic()
        seeds = [int(self._only)] if self._only else range(first, first + (1 << 62 if self._long else self._most))
        for seed in seeds:
            if time.monotonic() > end and self.figures["rounds"]:
                break
            self.figures["rounds"] += 1
            try:
                yield random.Random(seed)
            except GeneratorExit:
                print(f"\n{self.name}: it failed in the round of VFIO_IMS_FUZZ_SEED={seed}")
                raise
        said = ", ".join(f"{count} {what}" for what, count in self.figures.items())
        print(f"\n{self.name}: {said} in {time.monotonic() - began:.1f} s")
