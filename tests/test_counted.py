# SPDX-License-Identifier: Apache-2.0
"""Counts in messages agree with their nouns: "1 donor", "2 donors"; every message that counts says it so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_ims.counted import by_count, counted
from vfio_ims.driver import open_driver

ROOT = Path(__file__).parents[1]
NOUNS = (
    "addresses buffers clients columns descriptors donors entries events files fires folders functions"
    " interrupts links mappings pages passes queues ranges rows slots vectors"
)
PLURAL = re.compile(rf" (?:(?:more|free|extra|idle|shared|virtual|such|MSI-X) )?(?:{NOUNS.replace(' ', '|')})\b")
NO_COUNT = re.compile(r"join\(|\.(name|_name|label)$|^verb$|^_?[A-Z]|\bname$")
"""Expressions that are words, or constants above 1."""


def uncounted(tree: ast.AST) -> Iterator[str]:
    """f-strings with a bare number before a plural."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for value, text in zip(node.values, node.values[1:], strict=False):
                if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
                    continue
                shown = ast.unparse(value.value)
                if value.format_spec is None and PLURAL.match(str(text.value)) and not NO_COUNT.search(shown):
                    yield f"line {node.lineno}: {{{shown}}}{text.value}"


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(0, "donor", "0 donors"), (1, "donor", "1 donor"), (2, "entry", "2 entries"), (3, "pass", "3 passes")]
    + [(1, "virtual function", "1 virtual function"), (2, "day", "2 days"), (2, "address", "2 addresses")],
)
def test_a_count_with_its_noun(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text
    assert by_count(number, "is", "are") == ("is" if number == 1 else "are")


def test_one_donor_is_no_donors() -> None:
    with open_driver("mock:minimal") as driver, driver.ims.allocate():
        assert str(driver.ims.report()).splitlines()[0] == "mock:minimal: 1 of 16 slots in use, 1 donor"


def test_every_message_counts_by_the_helper() -> None:
    found = [
        f"{path.relative_to(ROOT)} {one}"
        for room in ("vfio_ims", "drivers")
        for path in sorted((ROOT / room).rglob("*.py"))
        if "vfio_ims/drivers" not in str(path)
        for one in uncounted(ast.parse(path.read_text()))
    ]
    assert not found, "\n".join(found)
