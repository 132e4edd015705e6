# SPDX-License-Identifier: Apache-2.0
"""A driver folder's own imports: its driver must not need its model, which a user with silicon never loads."""

from __future__ import annotations

import ast
from pathlib import Path

from vfio_ims.families import Family

__all__ = ["folder_problems"]


def folder_problems(family: Family) -> str:
    """How the family's driver imports its model, directly or through other modules of the folder; "" where not."""
    drivers = {family.driver} if isinstance(family.driver, str) else set(family.driver.values())
    models = {where.partition(":")[0] for where in family.models.values()}
    folder = _folder(family)
    for start in sorted(where.partition(":")[0] for where in drivers):
        if start in models:
            return ""  # one module has both: a choice for tests and sketches
        paths = [[start]]
        seen: set[str] = set()
        while paths:
            path = paths.pop()
            if path[-1] in models:
                return f"family {family.name}: the driver must not import the model: {' -> '.join(path)}"
            if path[-1] not in seen:
                seen.add(path[-1])
                paths += [[*path, name] for name in _siblings(folder, path[-1], family.package)]
    return ""


def _folder(family: Family) -> Path:
    import importlib

    file = importlib.import_module(family.package).__file__
    assert file is not None
    return Path(file).parent


def _siblings(folder: Path, module: str, package: str) -> list[str]:
    """Modules of the folder that ``module`` imports when it runs."""
    file = folder / f"{module.replace('.', '/')}.py"
    if not file.is_file():
        return []
    found: list[str] = []
    for node in _running(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            inside = (node.module or "").removeprefix(package).lstrip(".")
            if node.level == 1 or (node.module or "").startswith(package):
                found += [inside] if inside else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name.removeprefix(f"{package}.") for alias in node.names if alias.name.startswith(package)]
    return found


def _running(tree: ast.AST) -> list[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING``."""
    nodes: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        nodes += [node, *_running(node)]
    return nodes
