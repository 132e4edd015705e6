# SPDX-License-Identifier: Apache-2.0
"""Many descriptors as one pattern and arrays of what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Rows"]


class Rows:
    """Many descriptors: a ``pattern`` of 64 bytes in which ``values`` fill the columns at ``places`` (offset, width).

    The i-th completes into the record at address ``records + i * step``, ``iova + i * step`` for the device.
    """

    __slots__ = ("count", "iova", "pattern", "places", "records", "step", "values")

    pattern: bytes
    count: int
    places: tuple[tuple[int, int], ...]
    values: Sequence[ReadableBuffer]
    records: int
    iova: int
    step: int
