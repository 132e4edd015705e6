#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mutation testing: changes one place of the package at a time and runs the tests of its room; they have to notice.

    mutate.py [--room ims] [--sample 20] [--seed 1] [--minutes 10]

Each mutant is made in a copy of the checkout. Survivors are printed with their place: kill each by a test, or say
beside the code why it changes nothing. Only what the mock can show is asked; the seed makes a sample repeatable.
"""

from __future__ import annotations

import argparse
import ast
import copy
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "ims": ["tests/ims", "tests/behaviour", "tests/faults"],
    "interrupts": ["tests/interrupts", "tests/behaviour"],
    "dma": ["tests/dma", "tests/behaviour/test_dma.py", "tests/behaviour/test_dma_existing.py"],
    "platform": ["tests/platform", "tests/behaviour"],
    "selftest": ["tests/selftest"],
}
"""The rooms and what has to notice a change in each; on the mock alone, for speed."""
ON_THE_MOCK = ["-k", "not vfio-user and not vfio_user"]
_SECONDS = 240
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
    """One changed place: the file, where, and the text of the line before and after."""

    path: Path
    line: int
    kind: str
    text: str
    before: str
    after: str


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
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool):
        yield "constant", ast.Constant(not new.value)
    elif isinstance(new, ast.Constant) and isinstance(new.value, int):
        yield "constant", ast.Constant(new.value + 1)
    elif isinstance(new, ast.Expr) and isinstance(new.value, ast.Call):
        yield "call left out", ast.Pass()
    elif isinstance(new, ast.Return) and new.value is not None:
        yield "returns None", ast.Return(ast.Constant(None))


def _code(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes whose change matters: no annotations, no docstrings, nothing that only prints."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list") or isinstance(node, ast.Raise | ast.JoinedStr):
                continue
            parts = value if isinstance(value, list) else [value]
            todo += [
                part
                for part in parts
                if isinstance(part, ast.AST)
                and not (isinstance(part, ast.FunctionDef) and part.name in _TRACE_ONLY)
                and not (isinstance(part, ast.If) and "TYPE_CHECKING" in ast.unparse(part.test))
            ]


def mutants(path: Path) -> list[Mutant]:
    """All of a file's."""
    source = path.read_text()
    lines = source.encode().splitlines(keepends=True)
    found = []
    for node in _code(ast.parse(source)):
        if not hasattr(node, "lineno"):
            continue
        start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
        end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
        data = source.encode()
        for kind, new in _changed(node):
            replaced = ast.unparse(ast.fix_missing_locations(new))
            if not isinstance(node, ast.stmt):
                replaced = f"({replaced})"
            text = (data[:start] + replaced.encode() + data[end:]).decode()
            found.append(Mutant(path, node.lineno, kind, text, data[start:end].decode(), replaced))
    return found


def survives(mutant: Mutant, tree: Path, tests: list[str]) -> bool:
    """Whether the tests pass with it. One that does not end in time was noticed."""
    place = tree / mutant.path.relative_to(ROOT)
    sound = place.read_text()
    place.write_text(mutant.text)
    here = [test for test in tests if (tree / test).exists()]
    options = ["-q", "-x", "-p", "no:cacheprovider", "--timeout=60", *ON_THE_MOCK, *here]
    try:
        command = [sys.executable, "-m", "pytest", *options]
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=_SECONDS, check=False)
        return done.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        place.write_text(sound)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", action="append", choices=[*TESTS], help="of vfio_ims; repeatable. Without it: all")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="so many mutants a room; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600)
    asked = parser.parse_args()
    ends, survivors, tried = time.monotonic() + 60 * asked.minutes, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        skip = shutil.ignore_patterns(".git", ".venv*", "build", "dist", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, tree, symlinks=True, ignore=skip)
        for room in asked.room or TESTS:
            found = [mutant for path in sorted((ROOT / "vfio_ims" / room).glob("*.py")) for mutant in mutants(path)]
            random.Random(asked.seed).shuffle(found)
            for mutant in found[: asked.sample or None]:
                if time.monotonic() > ends:
                    break
                tried += 1
                if survives(mutant, tree, TESTS[room]):
                    survivors += 1
                    where = f"{mutant.path.relative_to(ROOT)}:{mutant.line}"
                    print(f"SURVIVED {where}: {mutant.kind}\n  - {mutant.before}\n  + {mutant.after}", flush=True)
    print(f"{tried} mutants, {tried - survivors} noticed, {survivors} survived (seed {asked.seed})")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
