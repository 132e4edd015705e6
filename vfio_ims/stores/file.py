# SPDX-License-Identifier: Apache-2.0
"""A store described in a TOML file, in the words of ``vfio_ims.registers.Store`` and the classes that it is made of.

    title = "..."                      [[table]]             one or more: SlotLayout's fields
    sources = ["..."]                  [fire]                also arm, disarm, fire_vector, reset: Doorbell's fields
    reserved_vectors = [0]             [identity]            Identity's fields
                                       [context]             Context's fields, with [context.load] and such

``"none"`` stands for None, ``"15:0"`` for a field's bits, ``bar = "memory"`` for a table in our own DMA memory, whose
``context`` then says how the device finds it. ``data_width``, ``address_mask`` and ``address_fixed`` of a table are its
limits.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from vfio_ims.errors import SetupError, UsageError, explain_unknown
from vfio_ims.messages import MessageLimits
from vfio_ims.registers import MEMORY, Bits, Context, Doorbell, Identity, SlotLayout, Store, bits

__all__ = ["parse_store", "read_store"]

T = TypeVar("T")
_FIELD = re.compile(r"(\d+)(?::(\d+))?")
_LIMITS = {"data_width": "data_bits", "address_mask": "address_mask", "address_fixed": "address_fixed"}
_DOORBELLS = ("fire", "arm", "disarm", "fire_vector", "reset")


def read_store(path: str | Path) -> Store:
    """Read a store's description; nothing is opened. Raises UsageError, which names the line or the table at fault."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is no text" if isinstance(error, UnicodeDecodeError) else ""
        code = error.errno if isinstance(error, OSError) else None
        raise SetupError(f"read the store's description {path}", why=why, errno=code) from error
    return parse_store(text, str(path))


def parse_store(text: str, name: str = "text") -> Store:
    """The store that ``text`` describes. Raises UsageError, in which it is called ``name``."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"read the store's description {name}", why=f"it is no TOML: {error}") from error
    try:
        return _store(content)
    except UsageError as error:
        raise UsageError(f"read the store's description {name}", why=error.why or str(error)) from error


def _store(content: dict[str, Any]) -> Store:
    known = ("title", "sources", "reserved_vectors", "table", "identity", "context", *_DOORBELLS)
    _check_names("entry", content, known)
    tables = content.get("table", [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise _wrong("table", "each table is written as [[table]]")
    found: dict[str, Any] = {"tables": tuple(_within(f"table {n}", _layout, one) for n, one in enumerate(tables, 1))}
    found["title"] = _text("title", content.get("title", ""))
    found["sources"] = tuple(_text("sources", one) for one in _list("sources", content.get("sources", [])))
    vectors = _list("reserved_vectors", content.get("reserved_vectors", []))
    found["reserved_vectors"] = tuple(_number("reserved_vectors", one) for one in vectors)
    for name in (*_DOORBELLS, "identity", "context"):
        if name in content:
            made = _identity if name == "identity" else _context if name == "context" else _doorbell
            found[name] = _within(name, made, content[name])
    return Store(**found)


def _layout(given: Mapping[str, Any]) -> SlotLayout:
    own = [field.name for field in fields(SlotLayout) if field.name != "limits"]
    _check_names("field", given, [*own, *_LIMITS])
    limits: dict[str, Any] = {_LIMITS[name]: _number(name, value) for name, value in given.items() if name in _LIMITS}
    plain: dict[str, Any] = {name: _value(name, value) for name, value in given.items() if name not in _LIMITS}
    _check_required(SlotLayout, plain)
    return SlotLayout(**plain, limits=MessageLimits(**limits))


def _doorbell(given: Mapping[str, Any]) -> Doorbell:
    return _made(Doorbell, given)


def _identity(given: Mapping[str, Any]) -> Identity:
    return _made(Identity, given)


def _context(given: Mapping[str, Any]) -> Context:
    commands = ("enable", "load", "show")
    inner = {name: _within(name, _doorbell, given[name]) for name in commands if name in given}
    return _made(Context, {name: value for name, value in given.items() if name not in inner}, inner)


def _made(kind: Callable[..., T], given: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> T:
    """An instance of a dataclass from its fields."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    _check_names("field", given, names)
    plain = {name: _value(name, value) for name, value in given.items()} | dict(more or {})
    _check_required(kind, plain)
    return kind(**plain)


def _check_names(kind: str, given: object, known: Sequence[str]) -> None:
    if not isinstance(given, Mapping):
        raise UsageError("describe a store", why=f"it must be a table of fields, not {given!r}")
    for name in given:
        if name not in known:
            raise UsageError("describe a store", why=explain_unknown(kind, name, known))


def _check_required(kind: Any, given: Mapping[str, Any]) -> None:
    for field in fields(kind):
        if field.default is MISSING and field.default_factory is MISSING and field.name not in given:
            raise UsageError("describe a store", why=f"{field.name} is missing")


def _value(name: str, value: object) -> object:
    """A field's value as Python has it."""
    if value == "none":
        return None
    if name == "bar":
        return MEMORY if value == "memory" else _number(name, value)
    if name in ("data_bits", "pasid"):
        return _bits(name, value)
    if name == "pending_access":
        return _text(name, value)
    if name == "bitmap":
        if not isinstance(value, bool):
            raise _wrong(name, f"it must be true or false, not {value!r}")
        return value
    if name == "shared_address":
        return _pair(name, value)
    if name == "address_copies":
        return tuple(_pair(name, one) for one in _list(name, value))
    return _number(name, value)


def _bits(name: str, value: object) -> Bits:
    match = _FIELD.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _wrong(name, f'bits are written as "15:0" or "3", not {value!r}')
    return bits(int(match[1]), int(match[2] or match[1]))


def _pair(name: str, value: object) -> tuple[int, int | None]:
    both = _list(name, value)
    if len(both) not in (1, 2):
        raise _wrong(name, f"an address has a low word, or a low and a high word, not {value!r}")
    return _number(name, both[0]), _number(name, both[1]) if len(both) == 2 else None


def _list(name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise _wrong(name, f"it must be a list, not {value!r}")
    return value


def _number(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, f"it must be a number such as 64 or 0x40, not {value!r}")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(name, f"it must be text, not {value!r}")
    return value


def _wrong(name: str, why: str) -> UsageError:
    return UsageError("describe a store", why=f"{name}: {why}")


def _within(where: str, make: Callable[[Any], T], given: Any) -> T:
    """``make(given)``, whose error says where it is."""
    try:
        return make(given)
    except UsageError as error:
        raise UsageError("describe a store", why=f"[{where}] {error.why}") from error
