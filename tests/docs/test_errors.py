# SPDX-License-Identifier: Apache-2.0
"""The page on errors has every class, and quotes messages as they are."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from vfio_ims import errors
from vfio_ims.cli import exits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text()


def test_every_class_has_its_bases_and_exit_status() -> None:
    rows = {row[0]: row for row in cells(PAGE.partition("## By message")[0])}
    for kind in vars(errors).values():
        if not isinstance(kind, type) or not issubclass(kind, errors.VfioImsError) or kind is errors.VfioImsError:
            continue
        row = rows[f"`{kind.__name__}`"]
        base = next((base.__name__ for base in kind.__bases__ if base is not errors.VfioImsError), "")
        assert row[1] == (f"`{base}`" if base else "")
        assert int(row[4]) == exits.report(kind("try"))


def test_every_message_that_is_quoted_is_in_the_source() -> None:
    quoted = [row[0].strip("`") for row in cells(PAGE.partition("## By message")[2])]
    assert len(quoted) > 30
    assert [text for text in quoted if not any(text in message for message in messages())] == []
    assert "a message that there is not" not in "".join(messages())


def cells(text: str) -> list[list[str]]:
    """The rows of the tables in ``text``, without their heads."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0].startswith("`")]


@cache
def messages() -> tuple[str, ...]:
    """Every text in the source, with … for what is put in."""
    found = []
    for folder in ("vfio_ims", "drivers"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    found.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return tuple(re.sub(r"…+", "…", text) for text in found)
