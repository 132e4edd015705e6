# SPDX-License-Identifier: Apache-2.0
"""What a device's Advanced Error Reporting says, read through config space, and what the kernel has counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError
from vfio_ims.pci.capabilities import AdvancedErrorReporting, Correctable, Uncorrectable, error_names

if TYPE_CHECKING:
    from vfio_ims.device.config import Config

__all__ = ["ErrorReport", "ReportedError", "clear_errors", "read_errors"]

_UNCORRECTABLE, _CORRECTABLE = 0x04, 0x10  # status registers, PCIe 6.0 7.8.4.2 and 7.8.4.5


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """The errors that a function's AER registers hold at one moment.

    ``fatal``: those of ``uncorrectable`` that are reported as fatal. ``first``: the one that ``header`` (four double
    words of the packet) belongs to; None where no status bit says so. ``counted``: the kernel's own counts by name,
    such as "fatal CmpltTO", since it found the function; empty where there is no kernel or it counts none.

    The kernel that handles an error clears the status bits afterwards. The counts and the header log still show it.
    """

    uncorrectable: Uncorrectable
    fatal: Uncorrectable
    correctable: Correctable
    first: Uncorrectable | None = None
    header: tuple[int, int, int, int] = (0, 0, 0, 0)
    counted: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = []
        for name, errors in (("fatal", self.fatal), ("nonfatal", self.uncorrectable & ~self.fatal)):
            if errors:
                parts.append(f"{name}: {error_names(Uncorrectable, errors)}")
        if self.correctable:
            parts.append(f"correctable: {error_names(Correctable, self.correctable)}")
        if any(self.header):
            owner = f" of {error_names(Uncorrectable, self.first)}" if self.first else ""
            parts.append(f"packet header{owner}: {' '.join(f'{word:08x}' for word in self.header)}")
        if self.counted:
            listed = ", ".join(f"{count} {name}" for name, count in self.counted.items())
            parts.append(f"counted by the kernel: {listed}")
        return "; ".join(parts) or "no error is recorded"


class ReportedError(DeviceError):
    """The device reported an uncorrectable error to the host (VFIO's ERR).

    ``report`` is what AER said when the event was handled; None where the function shows no AER capability.
    """

    report: ErrorReport | None = None

    @classmethod
    def of(cls, name: str, report: ErrorReport | None) -> ReportedError:
        """The error for ``report``."""
        why = f"it reported an uncorrectable error; {report or 'it shows no AER capability'}"
        made = cls("use the device", device=name, why=why, hint="dmesg | grep -i aer; reset it before it is used again")
        made.report = report
        return made


def read_errors(
    config: Config, errors: AdvancedErrorReporting | None, counted: Mapping[str, int]
) -> ErrorReport | None:
    """Read the registers now; None for a function without the capability."""
    if errors is None:
        return None
    words = b"".join(config.read(errors.offset + at, 4).to_bytes(4, "little") for at in range(0, 0x2C, 4))
    now = AdvancedErrorReporting(words, errors.offset)
    return ErrorReport(now.uncorrectable, now.fatal, now.correctable, now.first, now.header, counted)


def clear_errors(config: Config, errors: AdvancedErrorReporting) -> None:
    """Clear both status registers of what they hold now, by writing it back."""
    for register in (_UNCORRECTABLE, _CORRECTABLE):
        config.write(errors.offset + register, config.read(errors.offset + register, 4), 4)
