# SPDX-License-Identifier: Apache-2.0
"""A page is one file that loads nothing, and whatever it shows is text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from vfio_ims.errors import SetupError
from vfio_ims.html import Page, Section, elements, render, write_page

HOSTILE = "</script><img src=x onerror=alert(1)> & \x1b[31m"


class Elements(HTMLParser):
    """What a page is made of; it must be closed as it was opened."""

    VOID = {"meta", "br", "input"}
    LEAVES = {"path", "rect", "use", "polyline"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def loads_nothing(text: str) -> list[tuple[str, dict[str, str | None]]]:
    """Asserts that the page asks no network for anything; returns its elements."""
    found = Elements(text).found
    for tag, attributes in found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    return found


def test_what_a_device_says_is_text_everywhere() -> None:
    sections = [
        Section(HOSTILE, elements.facts({HOSTILE: HOSTILE})),
        Section("b", elements.outcomes([(HOSTILE, "failed", HOSTILE)])),
        Section("c", elements.findings([{"text": HOSTILE, "status": HOSTILE, "hint": HOSTILE, "slots": [HOSTILE]}])),
        Section("d", elements.table((HOSTILE,), [(HOSTILE,)])),
    ]
    record = {"device": HOSTILE}
    text = render(Page(HOSTILE, "failed", HOSTILE, sections, record, HOSTILE))
    found = loads_nothing(text)
    assert [tag for tag, _ in found].count("script") == 1
    assert "\x1b" not in text
    kept = re.search(r'id="record">(.*?)</script>', text)
    assert kept is not None
    assert json.loads(kept[1]) == record


def test_an_outcome_is_known_without_its_colour() -> None:
    text = str(elements.outcomes([("a", "passed", ""), ("b", "failed", ""), ("c", "not applicable", "")]))
    assert "✓ passed" in text
    assert "✗ failed" in text
    assert "– not applicable" in text


def test_sections_are_found_by_links() -> None:
    page = Page("Four", sections=[Section(f"Part {n}", elements.paragraph("x")) for n in range(4)])
    text = render(page)
    for n in range(4):
        assert f'href="#part-{n}"' in text
        assert f'<section id="part-{n}">' in text


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="name another place"):
        write_page(Page("x"), tmp_path / "no" / "such.html")
    write_page(Page("x"), tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[ImportError] = [ModuleNotFoundError(name="jinja2"), ImportError("its library is of another machine")]

    def refuse(name: str) -> Any:
        raise found.pop(0)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(SetupError, match="jinja2 is not installed") as missing:
        render(Page("x"))
    assert missing.value.hint == "pip install 'vfio-ims[html]'"
    with pytest.raises(SetupError, match="jinja2 cannot be loaded: its library is of another machine"):
        render(Page("x"))
