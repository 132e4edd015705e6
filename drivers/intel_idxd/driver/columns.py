# SPDX-License-Identifier: Apache-2.0
"""Descriptors given as columns: which of their fields are arrays, and the pattern that all have in common."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.native.whole_numbers import view_of_numbers

from ..hardware.descriptors import Flag
from .operations import Request, described

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["RECORD_AT", "Column", "Columns", "columns_of"]

Column: TypeAlias = "ReadableBuffer | int"
"""A value for each descriptor (an ``array`` is a buffer), or one for all."""

RECORD_AT: Final = 0x08
"""Where a descriptor has the address of its completion record."""

_COLUMNS = ((0x10, 8, "Q"), (0x18, 8, "Q"), (0x20, 4, "I"))
"""Source, destination and size: offset and width in a descriptor, and the usual type code of an array of them."""
_PLACES = tuple(tuple(column[:2] for bit, column in enumerate(_COLUMNS) if shape >> bit & 1) for shape in range(8))
_COMPLETES = Flag.RECORD_VALID | Flag.RECORD_ALWAYS
_PATTERNS: dict[tuple[object, ...], bytes] = {}
_MOST_PATTERNS = 256


class Columns(NamedTuple):
    """``values`` are those of source, destination and size that are arrays: at ``places`` of the ``pattern``."""

    name: str
    pattern: bytes
    length: int
    places: tuple[tuple[int, int], ...]
    values: Sequence[ReadableBuffer]


def columns_of(
    device: str,
    opcode: int,
    fields: tuple[Column, Column, Column],
    flags: int = 0,
    specific: bytes = b"",
    *,
    pasid: int = 0,
    name: str = "",
    operation: str = "submit many",
) -> Columns:
    """Check and encode descriptors. UsageError where a value does not fit its field, or a column is no array of it.

    Args:
        device: its name in errors.
        opcode: of all of them.
        fields: source, destination and size, each an array or one number for all.
        flags: of all, beside those of the completion.
        specific: the operation's own fields of all, from byte 40 on.
        pasid: the requests' tag.
        name: what errors call it.
        operation: what errors call what is done.
    """
    for number in (opcode, flags):
        if not isinstance(number, int):
            why = f"opcode and flags must be numbers, not {number!r}"
            raise UsageError(operation, device=device, why=why)
    if not isinstance(name, str):
        raise UsageError(operation, device=device, why=f"name must be a text, not {name!r}")
    shape, count = 0, 0
    values: list[Any] = []
    numbers: list[int] = []
    for bit, field in enumerate(fields):
        if isinstance(field, int):
            numbers.append(field)
            continue
        _, width, code = _COLUMNS[bit]
        if type(field) is not array or field.typecode != code:
            _check_column(field, width, device, f"{operation}: {name or f'operation {opcode:#x}'}")
        if not values:
            count = memoryview(field).nbytes // width
        shape |= 1 << bit
        values.append(field)
        numbers.append(0)
    if not count:
        name = name or f"operation {opcode:#x}"
        why = "the arrays are empty" if values else "at least one of source, destination and size must be an array"
        raise UsageError(f"{operation}: {name}", device=device, why=why)
    pattern = None
    if type(specific) is bytes:
        key = (opcode, flags, specific, pasid, *numbers)
        pattern = _PATTERNS.get(key)
    if pattern is None:
        source, destination, size = numbers
        request = Request(opcode, flags, source, destination, size, specific=specific, name=name)
        pattern = described(request, device, _COMPLETES, 0, pasid=pasid)
        if type(specific) is bytes:
            if len(_PATTERNS) >= _MOST_PATTERNS:
                _PATTERNS.clear()
            _PATTERNS[key] = pattern
    return Columns(name or f"operation {opcode:#x}", pattern, count, _PLACES[shape], values)


def _check_column(column: Any, width: int, device: str, operation: str) -> None:
    """UsageError unless it is a buffer of whole numbers of ``width`` bytes, or of bytes, in one piece."""
    hint = f'array("{"Q" if width == 8 else "I"}", [...]), of addresses: buffer.iova'
    try:
        if view_of_numbers(column, width).c_contiguous:
            return
        what, hint = "one that is not in one piece", "a copy of it is"
    except (TypeError, ValueError) as error:  # ValueError: numpy has kinds that no buffer has
        what = str(error)
    why = f"a column must be one number or an array of numbers of {counted(width, 'byte')}, not {what}"
    raise UsageError(operation, device=device, why=why, hint=hint)
