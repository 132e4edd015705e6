# SPDX-License-Identifier: Apache-2.0
"""The state of a function's PCI Express link."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vfio_ims.sysfs.attributes import read_int, read_text

__all__ = ["PcieLink", "read_link"]


@dataclass(frozen=True, slots=True)
class PcieLink:
    """Speeds in GT/s, widths in lanes; None where the kernel says unknown."""

    speed: float | None
    width: int | None
    max_speed: float | None
    max_width: int | None

    @property
    def reduced(self) -> bool:
        """Whether it runs slower or narrower than the function could."""
        pairs = ((self.speed, self.max_speed), (self.width, self.max_width))
        return any(now is not None and most is not None and now < most for now, most in pairs)

    def __str__(self) -> str:
        return " of ".join(
            f"{'?' if speed is None else f'{speed:g}'} GT/s x{width or '?'}"
            for speed, width in ((self.speed, self.width), (self.max_speed, self.max_width))
        )


def _speed(path: Path) -> float | None:
    match = re.match(r"(\d+(?:\.\d+)?) GT/s", read_text(path) or "")
    return float(match[1]) if match else None


def _width(path: Path) -> int | None:
    width = read_int(path)
    return width if width and width < 255 else None  # 255 is what a link that is not there reads as


def read_link(device: Path) -> PcieLink | None:
    """The link's state, or None: no link, as in a function integrated in the root complex."""
    link = PcieLink(
        _speed(device / "current_link_speed"),
        _width(device / "current_link_width"),
        _speed(device / "max_link_speed"),
        _width(device / "max_link_width"),
    )
    return None if link == PcieLink(None, None, None, None) else link
