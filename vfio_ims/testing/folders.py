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
                paths += [[*path, name] for name in _imports(folder, path[-1], family.package)]
    return ""


def _folder(family: Family) -> Path:
    import importlib

    file = importlib.import_module(family.package).__file__
    assert file is not None
    return Path(file).parent


def _source(folder: Path, module: str) -> Path | None:
    """The file of a module or package inside the folder."""
    path = folder.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imports(folder: Path, module: str, package: str) -> list[str]:
    """Modules and packages of the folder that ``module`` imports when it runs, those around them included."""
    file = _source(folder, module)
    if file is None:
        return []
    inside = [package, *module.split(".")]
    around = inside if file.name == "__init__.py" else inside[:-1]
    wanted: list[str] = []
    for node in _running(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            start = around[: len(around) + 1 - node.level] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            wanted += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            wanted += [alias.name for alias in node.names]
    found: list[str] = []
    for name in wanted:
        if name.startswith(f"{package}."):
            parts = name.removeprefix(f"{package}.").split(".")
            outward = (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
            found += [one for one in outward if _source(folder, one) is not None]
    return found


def _running(tree: ast.AST) -> list[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING``."""
    nodes: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        nodes += [node, *_running(node)]
    return nodes
