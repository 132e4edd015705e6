# SPDX-License-Identifier: Apache-2.0
"""Blocks of registers from a SystemRDL description: fields, resets and access kinds as it has them.

Needs systemrdl-compiler: ``pip install 'vfio-ims[systemrdl]'``.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfio_ims.errors import SetupError, UsageError

if TYPE_CHECKING:
    from systemrdl.node import AddrmapNode, FieldNode, RegNode

__all__ = ["blocks_from_rdl", "classes_of", "classes_of_block"]

_RESERVED = {"offset", "width", "access", "reset", "doc", "value", "self"}
_LONG = 90  # characters of a declaration, without its name
_WIDTHS = (8, 16, 32, 64, 128, 256)


def blocks_from_rdl(path: str | Path) -> str:
    """The classes for the description's one top: text to be put into a ``registers.py``.

    Raises SetupError without systemrdl-compiler, UsageError where the description is wrong or says what a block cannot.
    """
    operation = f"read the SystemRDL description {path}"
    try:
        from systemrdl.compiler import RDLCompiler
        from systemrdl.messages import RDLCompileError
    except ImportError as error:
        why, hint = "systemrdl-compiler is not installed", "pip install 'vfio-ims[systemrdl]'"
        raise SetupError(operation, why=why, hint=hint) from error
    if not Path(path).is_file():
        raise UsageError(operation, why="there is no such file")
    compiler = RDLCompiler()
    try:
        compiler.compile_file(str(path))
        top = compiler.elaborate().top
    except RDLCompileError as error:
        raise UsageError(operation, why=f"{error}: the lines are above") from error
    return "\n\n\n".join(classes_of(top, operation)) + "\n"


def classes_of(top: AddrmapNode, operation: str) -> list[str]:
    """The classes for a map of registers and the repeated blocks in it. UsageError where it has what a block cannot."""
    classes: list[str] = []
    _block(top, _class_name(top.inst_name), classes, operation)
    return classes


def classes_of_block(top: AddrmapNode, operation: str) -> list[str]:
    """As ``classes_of``; where the map has one block and nothing else, its registers have names without the block's."""
    inner: list[Any] = list(top.children(unroll=False))
    if len(inner) != 1 or _is_register(inner[0]) or getattr(inner[0], "is_array", True):
        return classes_of(top, operation)
    classes: list[str] = []
    _block(inner[0], _class_name(top.inst_name), classes, operation, inner[0].raw_address_offset)
    return classes


def _block(node: Any, name: str, classes: list[str], operation: str, start: int = 0) -> None:
    """The class for a map or a file of registers, after those of the repeated blocks in it. ``start``: its offset."""
    lines = []
    for prefix, base, child in _flat(node, "", start):
        own = f"{prefix}{child.inst_name}".upper()
        at = base + child.raw_address_offset
        if not child.is_array:
            lines.append(f"    {own} = {_register(child, at, operation)}")
            continue
        dimensions = child.array_dimensions or []
        if len(dimensions) != 1:
            raise UsageError(
                operation, why=f"{child.inst_name} is an array of {len(dimensions)} dimensions; one is what a block has"
            )
        row = f"{name}{_class_name(child.inst_name)}"
        if _is_register(child):
            doc = f'"""One of {own}."""'
            classes.append(f"class {row}(Block):\n    {doc}\n\n    {own} = {_register(child, 0, operation)}")
        else:
            _block(child, row, classes, operation)
        lines.append(f"    {own} = Repeat({row}, {at:#05x}, count={dimensions[0]}, stride={child.array_stride:#x})")
    doc = _sentence(node)
    classes.append(f'class {name}(Block):\n    """{doc}"""\n\n' + "\n".join(lines or ["    pass"]))


def _flat(node: Any, prefix: str, base: int) -> Iterator[tuple[str, int, Any]]:
    """Registers and arrays; what is inside a single file of registers has its name before its own."""
    for child in node.children(unroll=False):
        if not hasattr(child, "raw_address_offset"):
            continue
        if _is_register(child) or child.is_array:
            yield prefix, base, child
        else:
            yield from _flat(child, f"{prefix}{child.inst_name}_", base + child.raw_address_offset)


def _is_register(node: Any) -> bool:
    return hasattr(node, "fields")


def _register(node: RegNode, at: int, operation: str) -> str:
    width = node.get_property("regwidth")
    if width not in _WIDTHS:
        raise UsageError(operation, why=f"{node.inst_name} is {width} bits wide; a register is one of {_WIDTHS}")
    fields = list(node.fields())
    kinds = [_access(field) for field in fields]
    access = kinds[0] if len(set(kinds)) == 1 else "ro"  # bits that no field has are reserved
    reset = sum(value << field.low for field in fields if isinstance(value := field.get_property("reset"), int))
    parts = [f"{at:#04x}"]
    parts += [f"width={width}"] if width != 32 else []
    parts += [f'access="{access}"'] if access != "rw" else []
    parts += [f"reset={reset:#x}"] if reset else []
    whole = len(fields) == 1 and fields[0].width == width
    if not whole:
        parts += [_field(field, kind, access) for field, kind in zip(fields, kinds, strict=True)]
    doc = _sentence(node, default="")
    parts += [f'doc="{doc}"'] if doc else []
    line = f"Register({', '.join(parts)})"
    return line if len(line) < _LONG else "Register(\n" + "".join(f"        {part},\n" for part in parts) + "    )"


def _field(field: FieldNode, kind: str, usual: str) -> str:
    name = field.inst_name.lower()
    name += "_" if name in _RESERVED or keyword.iskeyword(name) else ""
    own = f', "{kind}"' if kind != usual else ""
    return f"{name}=bit({field.low}{own})" if field.width == 1 else f"{name}=bits({field.high}, {field.low}{own})"


def _access(field: FieldNode) -> str:
    """Read-only, write-only, write 1 to clear, or read and write: what software may do."""
    if not field.is_sw_writable:
        return "ro"
    if not field.is_sw_readable:
        return "wo"
    on_write = field.get_property("onwrite")
    return "rw1c" if on_write is not None and on_write.name == "woclr" else "rw"


def _sentence(node: Any, default: str = "Registers.") -> str:
    """What the description says of it, on one line, without what would end a text."""
    name = node.get_property("name")
    text = str(node.get_property("desc") or ("" if name == node.inst_name else name))
    return " ".join(text.split()).replace("\\", "/").replace('"', "'") or default


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in re.split("[_-]", name.lower()) if part)
