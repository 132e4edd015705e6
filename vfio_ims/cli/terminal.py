# SPDX-License-Identifier: Apache-2.0
"""rich's console, which prints what others wrote, but obeys none of it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from vfio_ims.printable import printable

__all__ = ["PrintableConsole"]


class PrintableConsole(Console):
    """Escape codes are those of its styles alone: in text a terminal's control characters are printed as escapes."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does, with every piece of text made printable."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text, keep="\n"), segment.style)
