# SPDX-License-Identifier: Apache-2.0
"""What went wrong in a driver folder, in words for its author: where it is, and what was perhaps meant."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from vfio_ims.errors import VfioImsError

__all__ = ["describe_failure", "missing_class", "missing_methods", "missing_module", "place_of", "wrong_vectors"]


def place_of(error: BaseException, folders: Iterable[Path]) -> str:
    """The innermost line of these folders in ``error``'s traceback: "driver.py line 24, in start"; "" for none."""
    places = [folder.resolve() for folder in folders]
    if isinstance(error, SyntaxError) and error.filename:
        inside = _inside(Path(error.filename), places)
        if inside:
            return f"{inside} line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        inside = _inside(Path(frame.filename), places)
        if inside:
            where = "" if frame.name == "<module>" else f", in {frame.name}"
            return f"{inside} line {frame.lineno}{where}"
    return ""


def _inside(file: Path, folders: Iterable[Path]) -> str:
    for folder in folders:
        if file.resolve().is_relative_to(folder):
            return str(file.resolve().relative_to(folder))
    return ""


def describe_failure(error: Exception, folders: Iterable[Path]) -> str:
    """``error`` in one line: where in the folders it arose, of what kind it is, what it says."""
    says = str(error) if isinstance(error, VfioImsError) else f"{type(error).__name__}: {_said(error)}"
    place = place_of(error, folders)
    return f"{place}: {says}" if place else says


def _said(error: Exception) -> str:
    """What the interpreter says of it, with the name that it thinks was meant."""
    if isinstance(error, SyntaxError):
        return error.msg
    lines = list(traceback.TracebackException.from_exception(error).format_exception_only())
    return lines[0].partition(": ")[2].strip() or str(error)


def missing_module(name: str, folder: Path) -> str:
    """There is no module ``name`` in the folder."""
    known = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    known += sorted(path.parent.name for path in folder.glob("*/__init__.py"))
    return f"there is no {name}.py; {_meant(name, known)}"


def missing_class(name: str, module: ModuleType) -> str:
    """There is nothing called ``name`` in the module."""
    classes = [(key, value) for key, value in vars(module).items() if isinstance(value, type)]
    own = [key for key, value in classes if value.__module__ == module.__name__]
    file = Path(str(module.__file__)).name
    return f"{file} has no class {name}; {_meant(name, own)}"


def missing_methods(kind: type) -> str:
    """Which of the methods that it must have the class lacks, and how they were perhaps spelled; "" where none."""
    own = [name for name in vars(kind) if not name.startswith("_")]
    found = []
    for name in sorted(getattr(kind, "__abstractmethods__", ())):
        near = get_close_matches(name, own, n=1)
        found.append(f"{name} (is {near[0]} meant to be it?)" if near else name)
    return f"{kind.__name__} lacks {', '.join(found)}, which every driver has" if found else ""


def wrong_vectors(kind: type) -> str:
    """Why the class's ``reserved_vectors`` are none; "" where they are a tuple of numbers."""
    reserved = getattr(kind, "reserved_vectors", ())
    if isinstance(reserved, tuple) and all(isinstance(vector, int) for vector in reserved):
        return ""
    return f"{kind.__name__}.reserved_vectors must be a tuple of vectors' numbers, such as (7,), not {reserved!r}"


def _meant(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there is {', '.join(known) or 'none'}"
