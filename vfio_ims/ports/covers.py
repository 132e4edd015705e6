# SPDX-License-Identifier: Apache-2.0
"""Standing before an open device, in place: every holder of a port, an address space or a window is served by another.

A method is covered by an attribute of the object itself, which Python finds before the class's method: taken off again,
nothing is left, and an object that was never covered pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vfio_ims.ports.window import Window

__all__ = ["Covered"]


class Covered:
    """Methods of objects, and windows, that others stand before, until ``uncover``."""

    def __init__(self) -> None:
        self._covers: list[tuple[Any, str, Any, Any]] = []
        self._windows: list[tuple[Any, Window | None, Window]] = []

    def cover(self, target: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Put ``make(method)`` before the method ``name`` of ``target``."""
        before = target.__dict__.get(name)
        cover = make(getattr(target, name))
        target.__dict__[name] = cover
        self._covers.append((target, name, before, cover))

    def cover_window(self, window: Any, make: Callable[[Window], Window]) -> bool:
        """Put ``make(what answers now)`` before ``window``; False where it is a kind that cannot be covered."""
        if not hasattr(window, "divert"):
            return False
        before = window.taker
        taker = make(before or window.undiverted())
        window.divert(taker)
        self._windows.append((window, before, taker))
        return True

    def uncover(self) -> None:
        """Take them off, newest first; what another has covered since stays beneath it."""
        for window, under, taker in reversed(self._windows):
            if not window.closed and window.taker is taker:
                window.divert(under)
        for target, name, before, cover in reversed(self._covers):
            if target.__dict__.get(name) is cover:
                if before is None:
                    del target.__dict__[name]
                else:
                    target.__dict__[name] = before
        self._windows.clear()
        self._covers.clear()
