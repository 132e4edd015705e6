# SPDX-License-Identifier: Apache-2.0
"""Whether a buffer holds what a compiled call reads from it: whole numbers of one width, in this machine's order."""

from __future__ import annotations

from typing import Any

from vfio_ims.counted import counted

__all__ = ["view_of_numbers"]

_NATIVE = "@=<"
"""What may stand before a format's letter: all machines that have VFIO and IMS are little endian."""
_NUMBERS = frozenset("bBhHiIlLqQnNP")
_BYTES = frozenset("bBc")


def view_of_numbers(given: Any, width: int) -> memoryview:
    """The view of a buffer of numbers of ``width`` bytes, or of bytes. TypeError says what was given instead.

    An array of objects holds their addresses, one in the other byte order other numbers: both have the right width.
    """
    try:
        view = memoryview(given)
    except TypeError:
        raise TypeError(type(given).__name__) from None
    if not view.ndim:
        raise TypeError(f"{type(given).__name__}: int() of it is one number")
    letter = view.format[1:] if view.format[:1] in _NATIVE else view.format
    if view.itemsize not in (1, width) or letter not in (_BYTES if view.itemsize == 1 else _NUMBERS):
        raise TypeError(f"one of {counted(view.itemsize, 'byte')} each, format {view.format!r}")
    return view
