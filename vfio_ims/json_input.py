# SPDX-License-Identifier: Apache-2.0
"""JSON that a user gives: read whole, or refused in plain words with the place."""

from __future__ import annotations

import json
from typing import Any, NoReturn

__all__ = ["NotJson", "read_json"]

_EXPECTED = (
    ("Expecting value", "a value is expected: text in double quotes, a number, true, false, null, [ or {"),
    ("Expecting property name", "a name in double quotes is expected"),
    ("Expecting ':'", "a colon is expected after the name"),
    ("Expecting ','", "a comma or the closing bracket is expected"),
    ("Illegal trailing comma", "after this comma another value is expected"),
    ("Unterminated string", "the text that begins here has no closing quote"),
    ("Invalid control character", "within a text a line break or control character is written as an escape, as in \\n"),
    ("Invalid \\", 'after a backslash one of " \\ / b f n r t u is expected, and after u four hex digits'),
    ("Extra data", "the end of the file is expected"),
)
"""By how the words of Python's reader begin, in 3.11 to 3.15."""


class NotJson(ValueError):
    """What is wrong, and where."""


def read_json(data: str | bytes) -> Any:
    """The value that ``data``, the whole of a file, has. Raises NotJson, also where a name is twice in one object."""
    try:
        text = data.decode() if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise NotJson(f"it is no text in UTF-8: byte {error.start} cannot be read") from None
    if not isinstance(text, str):
        raise NotJson(f"it must be text, not {type(text).__name__}")
    if not text.strip():
        raise NotJson("it is empty")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise NotJson(f"line {error.lineno}, column {error.colno}: {_plain(error.msg)}") from None
    except RecursionError:
        raise NotJson("it is nested too deep") from None
    except NotJson:
        raise
    except ValueError:  # Python's limit on the digits of a number
        raise NotJson("a number in it has thousands of digits") from None


def _plain(said: str) -> str:
    return next((words for start, words in _EXPECTED if said.startswith(start)), said)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        first, value = pairs[0]
        shown = json.dumps({first: value}) if isinstance(value, (str, int)) else f'{{"{first}": …}}'
        raise NotJson(f"the object that begins {shown[:80].removesuffix('}')} has {twice!r} twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is no number in JSON")
