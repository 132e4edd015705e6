# SPDX-License-Identifier: Apache-2.0
"""What the platform refused: the software counterpart of the kernel's DMAR lines in its log."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vfio_ims.counted import counted
from vfio_ims.platform.controller import function_name

__all__ = ["Fault", "FaultKind", "FaultLog"]


class FaultKind(StrEnum):
    """What was refused."""

    MESSAGE = "interrupt message"
    DMA_READ = "DMA read"
    DMA_WRITE = "DMA write"


@dataclass(frozen=True, slots=True)
class Fault:
    """One refused request: who asked (requester id, PASID), for what, and why not.

    ``size`` counts bytes; ``data`` is a message's data word, None for DMA.
    """

    kind: FaultKind
    requester: int
    address: int
    size: int
    why: str
    data: int | None = None
    pasid: int | None = None

    def __str__(self) -> str:
        who = function_name(self.requester)
        tag = "" if self.pasid is None else f" PASID {self.pasid}"
        what = f"{self.address:#x}" + (
            f"/{self.data:#x}" if self.data is not None else f" ({counted(self.size, 'byte')})"
        )
        return f"{who}{tag}: {self.kind} {what} refused: {self.why}"


class FaultLog:
    """The last refusals, and how many there were of each kind. Appending is safe from any thread."""

    def __init__(self, keep: int = 256) -> None:
        self._faults: deque[Fault] = deque(maxlen=keep)
        self.counts: Counter[FaultKind] = Counter()

    def record(self, fault: Fault) -> None:
        """Count ``fault``, and keep it until newer ones push it out."""
        self._faults.append(fault)
        self.counts[fault.kind] += 1

    @property
    def total(self) -> int:
        """All refusals since the log was made or cleared, those no longer kept included."""
        return sum(self.counts.values())

    @property
    def last(self) -> Fault | None:
        """The newest refusal, or None."""
        return self._faults[-1] if self._faults else None

    def clear(self) -> None:
        """Forget all refusals and set their counts to 0."""
        self._faults.clear()
        self.counts.clear()

    def __len__(self) -> int:
        return len(self._faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no faults"
