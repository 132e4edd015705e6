# SPDX-License-Identifier: Apache-2.0
"""What mutate.py changes: every place of a file whose change a test can be asked to notice, one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

_TRACE_ONLY = {"__repr__", "__str__", "__del__"}
_COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COMPUTED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
    ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed place: the file, its lines, and the text of the line before and after."""

    path: str
    line: int
    last: int
    kind: str
    text: str
    before: str
    after: str


def _is_negative(node: ast.AST) -> TypeGuard[ast.UnaryOp]:
    """Whether it is a number below 0. It is changed as a whole: which number it is hardly ever matters."""
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)


def _changed(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What ``node`` could be instead."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare) and type(new.ops[0]) in _COMPARED:
        new.ops[0] = _COMPARED[type(new.ops[0])]()
        yield "comparison", new
    elif isinstance(new, ast.BinOp) and type(new.op) in _COMPUTED:
        new.op = _COMPUTED[type(new.op)]()
        yield "operator", new
    elif isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
        yield "and/or", new
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not):
        yield "not", new.operand
    elif _is_negative(new):
        yield "sign", new.operand
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool):
        yield "constant", ast.Constant(not new.value)
    elif isinstance(new, ast.Constant) and isinstance(new.value, int):
        yield "constant", ast.Constant(new.value + 1)
    elif isinstance(new, ast.Expr) and isinstance(new.value, ast.Call):
        yield "call left out", ast.Pass()
    elif isinstance(new, ast.AugAssign) or (
        isinstance(new, ast.Assign) and isinstance(new.targets[0], ast.Attribute | ast.Subscript)
    ):
        yield "assignment left out", ast.Pass()
    elif isinstance(new, ast.Return) and new.value is not None:
        yield "returns None", ast.Return(ast.Constant(None))


def _code(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes whose change matters: no annotations, no docstrings, nothing that only prints."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            if isinstance(node, ast.Raise | ast.JoinedStr) or _is_negative(node):
                continue
            parts = value if isinstance(value, list) else [value]
            todo += [
                part
                for part in parts
                if isinstance(part, ast.AST)
                and not (isinstance(part, ast.FunctionDef) and part.name in _TRACE_ONLY)
                and not (isinstance(part, ast.If) and "TYPE_CHECKING" in ast.unparse(part.test))
            ]


def mutants(root: Path, path: str) -> list[Mutant]:
    """All of the file at ``path`` in ``root``."""
    source = (root / path).read_text()
    lines = source.encode().splitlines(keepends=True)
    found = []
    for node in _code(ast.parse(source)):
        if not isinstance(node, ast.expr | ast.stmt) or node.end_lineno is None or node.end_col_offset is None:
            continue
        start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
        end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
        data = source.encode()
        for kind, new in _changed(node):
            replaced = ast.unparse(ast.fix_missing_locations(new))
            if not isinstance(node, ast.stmt):
                replaced = f"({replaced})"
            text = (data[:start] + replaced.encode() + data[end:]).decode()
            found.append(Mutant(path, node.lineno, node.end_lineno, kind, text, data[start:end].decode(), replaced))
    return found
