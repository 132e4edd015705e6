# SPDX-License-Identifier: Apache-2.0
"""What is counted, and what latencies come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from vfio_ims.counted import counted

__all__ = ["Counts", "Latency", "Tally"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Fires and what became of them.

    A fire into a masked slot that is unmasked later counts twice: withheld, then fired. Fires repeated to look into a
    failure are ``refires`` and nothing else.
    """

    fired: int = 0
    """Fires that must arrive."""
    delivered: int = 0
    """Those whose owner was woken in time T."""
    lost: int = 0
    """Those whose owner was not, and that arrived nowhere else."""
    duplicated: int = 0
    """Events beyond the fires."""
    misrouted: int = 0
    """Fires, or events without one, that arrived where another slot's must."""
    withheld: int = 0
    """Fires that must not arrive (masked, or of a wrong PASID) and did not."""
    unexpected: int = 0
    """Fires that must not arrive, and did."""
    refused: int = 0
    """Fires that the device reported as refused."""
    refires: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def faults(self) -> int:
        """Everything that a device must not do: lost, duplicated, misrouted, unexpected."""
        return self.lost + self.duplicated + self.misrouted + self.unexpected

    def to_json(self) -> dict[str, int]:
        """The counts by name, as in the JSON report."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        """Those that are not 0."""
        return ", ".join(f"{name} {number}" for name, number in self.to_json().items() if number) or "nothing fired"


@dataclass(slots=True)
class Tally:
    """``Counts`` while they are being counted."""

    fired: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    misrouted: int = 0
    withheld: int = 0
    unexpected: int = 0
    refused: int = 0
    refires: int = 0

    def counts(self) -> Counts:
        return Counts(*(getattr(self, field.name) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Latency:
    """From just before the fire until the owner's wait returned, in microseconds."""

    count: int
    p50: float
    p99: float
    max: float
    samples: tuple[float, ...] = field(default=(), repr=False)
    """Each of them, in the order of the fires."""

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Latency | None:
        """None where nothing was measured."""
        samples = tuple(seconds)
        ordered = sorted(samples)
        if not ordered:
            return None
        last = len(ordered) - 1
        p50, p99, highest = (ordered[round(last * share)] * 1e6 for share in (0.5, 0.99, 1))
        return cls(
            len(ordered),
            round(p50, 1),
            round(p99, 1),
            round(highest, 1),
            tuple(round(each * 1e6, 1) for each in samples),
        )

    def to_json(self) -> dict[str, object]:
        """Microseconds by name, as in the JSON report."""
        numbers = {"count": self.count, "p50_us": self.p50, "p99_us": self.p99, "max_us": self.max}
        return {**numbers, "samples_us": list(self.samples)}

    def __str__(self) -> str:
        return f"p50 {self.p50:.0f} µs, p99 {self.p99:.0f} µs, max {self.max:.0f} µs ({counted(self.count, 'fire')})"
