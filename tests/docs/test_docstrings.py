# SPDX-License-Identifier: Apache-2.0
"""What the API reference shows has a docstring, and one with several parameters says what each of them is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType, MappingProxyType

import vfio_ims
from vfio_ims.locks import made_once

DOCS = Path(__file__).parents[2] / "docs"
_MEMBERS = (FunctionType, staticmethod, classmethod, property, made_once)
MANY = 3
"""From so many parameters on, each has to be named: two are clear from their names and the summary."""


def test_every_member_of_the_reference_has_a_docstring() -> None:
    missing = [name for name, member in members() if not documentation(member)]
    assert missing == []


def test_each_of_several_parameters_is_named() -> None:
    silent = []
    for name, member in members():
        function = member[1]
        if isinstance(function, (staticmethod, classmethod)):
            function = function.__func__
        if not isinstance(function, FunctionType):
            continue
        asked = [
            one.name
            for one in inspect.signature(function).parameters.values()
            if one.name not in ("self", "cls") and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        ]
        words = set(re.findall(r"\w+", documentation(member))) | shared_names(member[0])
        unnamed = [parameter for parameter in asked if parameter not in words]
        if len(asked) >= MANY and unnamed:
            silent.append(f"{name}: {', '.join(unnamed)}")
    assert silent == []


def shared_names(kind: type | None) -> set[str]:
    """What a class says of parameters that its methods share, such as the flags of every operation."""
    return set(re.findall(r"``(\w+)``", (kind and kind.__doc__) or ""))


def test_every_package_that_offers_something_has_a_page() -> None:
    shown = set(
        re.findall(r"^::: (\S+)", "".join(page.read_text() for page in (DOCS / "api").glob("*.md")), re.MULTILINE)
    )
    for file in sorted(Path(vfio_ims.__file__).parent.glob("*/__init__.py")):
        path = f"vfio_ims.{file.parent.name}"
        offers = re.search(r"^__all__ = ", file.read_text(), re.MULTILINE)
        assert not offers or path in shown, f"{path} has names in __all__ and no page in docs/api"


def test_pages_that_put_members_in_order_have_them_all() -> None:
    for page in sorted((DOCS / "api").glob("*.md")):
        for path, listed in re.findall(
            r"^::: (\S+)\n    options:\n      members: \[(.*?)\]$", page.read_text(), re.MULTILINE
        ):
            if path != "vfio_ims":  # whose page has what opens a device
                assert sorted(listed.split(", ")) == sorted(import_module(path).__all__), f"{page.name}: {path}"


def members() -> Iterator[tuple[str, tuple[type | None, object]]]:
    """Name, class and value of what docs/api shows: the names in ``__all__``, and their own public members."""
    seen = set()
    for page in sorted((DOCS / "api").glob("*.md")):
        for path in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE):
            module = import_module(path)
            for exported in getattr(module, "__all__", ()):
                value = getattr(module, exported)
                if not isinstance(value, (type, FunctionType)) or value in seen:
                    continue
                seen.add(value)
                where = f"{value.__module__}.{value.__qualname__}"
                yield where, (None, value)
                if isinstance(value, type):
                    yield from ((f"{where}.{key}", (value, one)) for key, one in own(vars(value)))


def own(attributes: MappingProxyType[str, object]) -> Iterator[tuple[str, object]]:
    """Methods and properties that a class defines and does not hide; values are described where the class is."""
    for key, one in attributes.items():
        if not key.startswith("_") and isinstance(one, _MEMBERS):
            yield key, one


def documentation(member: tuple[type | None, object]) -> str:
    """A docstring of its own, or that of the member which it overrides."""
    kind, value = member
    if kind is None:
        return inspect.cleandoc(value.__doc__ or "")
    name = next(key for key, one in vars(kind).items() if one is value)
    texts = (vars(base)[name].__doc__ for base in kind.__mro__ if name in vars(base))
    return inspect.cleandoc(next((text for text in texts if text), "") or "")
