# SPDX-License-Identifier: Apache-2.0
"""What is read as numbers holds numbers: a width that happens to be right is not enough."""

from __future__ import annotations

import ctypes
from array import array
from typing import Any

import pytest

from vfio_ims.native.whole_numbers import view_of_numbers

WHOLE = array("Q", [1, 2, 3, 4])
RIGHT: dict[str, Any] = {
    "array": WHOLE,
    "signed": array("q", [-1]),
    "its bytes": WHOLE.tobytes(),
    "a part": memoryview(WHOLE)[1::2],
    "rows": memoryview(WHOLE).cast("B").cast("Q", (2, 2)),
    "of ctypes": (ctypes.c_uint64 * 2)(1, 2),
    "pointers": (ctypes.c_void_p * 2)(1, 2),
}
WRONG: dict[str, tuple[Any, str]] = {
    "other order": ((ctypes.c_uint64.__ctype_be__ * 2)(1, 2), "one of 8 bytes each, format '>Q'"),
    "objects": ((ctypes.py_object * 2)(1, 2), "one of 8 bytes each, format '<O'"),
    "truth": ((ctypes.c_bool * 8)(), "one of 1 byte each, format '<[?]'"),
    "floats": (array("d", [1.0]), "one of 8 bytes each, format 'd'"),
    "narrow": (array("I", [1, 2]), "one of 4 bytes each, format 'I'"),
    "one number": (ctypes.c_uint64(5), "c_ulong: int"),
    "a list": ([1, 2], "list"),
    "a text": ("12345678", "str"),
}


@pytest.mark.parametrize("given", RIGHT.values(), ids=RIGHT)
def test_numbers_are_looked_at_where_they_are(given: Any) -> None:
    assert view_of_numbers(given, 8).nbytes == memoryview(given).nbytes


@pytest.mark.parametrize(("given", "words"), WRONG.values(), ids=WRONG)
def test_anything_else_is_named(given: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"^{words}"):
        view_of_numbers(given, 8)
