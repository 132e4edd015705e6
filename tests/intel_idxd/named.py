# SPDX-License-Identifier: Apache-2.0
"""The tests that a module beside this one has."""

from __future__ import annotations

import ast
from pathlib import Path


def names_in(name: str) -> set[str]:
    """Of its name without ``.py``; ``folder/name`` in a folder beside this module."""
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
