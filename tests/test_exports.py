# SPDX-License-Identifier: Apache-2.0
"""What a package offers is said once, in its ``__all__``: all of it resolves, and underscore names stay inside."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    [*(ROOT / "vfio_ims").rglob("*.py"), *(ROOT / "drivers").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]
)
PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in (ROOT / "vfio_ims").rglob("__init__.py")
    if "drivers" not in path.parts
)


def exported(path: Path) -> set[str]:
    """The public names that a package's ``__init__`` makes or imports from this project, read from its text."""
    names: set[str] = set()
    body = ast.parse(path.read_text()).body
    lazy = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in body)
    for node in body:
        if isinstance(node, ast.If) and lazy:  # `if TYPE_CHECKING:`, for the names that __getattr__ loads
            body = [*body, *node.body]
    for node in body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vfio_ims"):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_offers_what_it_lists(name: str) -> None:
    package = importlib.import_module(name)
    listed = [one for one in getattr(package, "__all__", []) if one != "__version__"]
    assert len(listed) == len(set(listed))
    assert set(listed) == exported(ROOT / name.replace(".", "/") / "__init__.py")
    for one in listed:
        assert getattr(package, one) is not None


@pytest.mark.parametrize("name", PACKAGES)
def test_completion_shows_what_a_package_lists(name: str) -> None:
    """In a process that has used none of it yet: what is loaded on first use is listed, too."""
    code = f"import {name} as p; d = dir(p); print(sorted(set(getattr(p, '__all__', [])) - set(d)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_underscore_names_stay_in_their_module() -> None:
    taken = [
        f"{path.relative_to(ROOT)}: {alias.name} of {node.module}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert taken == []


@pytest.mark.parametrize("name", ["vfio_ims", "vfio_ims.host"])
def test_who_asks_for_everything_finds_it_loaded(name: str) -> None:
    """As pdoc does, which looks at the module's own dictionary."""
    code = f"import {name} as p; names = p.__all__; print(sorted(set(names) - set(vars(p))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
