# SPDX-License-Identifier: Apache-2.0
"""The page itself: head, verdict, sections, and the record that it was made from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfio_ims.errors import SetupError
from vfio_ims.html.colours import style
from vfio_ims.html.elements import badge
from vfio_ims.html.extra import load
from vfio_ims.printable import printable

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["Page", "Section", "ready", "render", "write_page"]


@dataclass(frozen=True, slots=True)
class Section:
    """A part with a heading. ``body`` is made by ``vfio_ims.html.elements``."""

    title: str
    body: Markup

    @property
    def anchor(self) -> str:
        """The name by which a link finds it."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True, slots=True)
class Page:
    """``verdict``: "passed", "failed" or "interrupted"; "" for a page without one.

    ``record``: the answer, or the answers, that it shows. They are kept in the page, so that they can be had again.
    """

    title: str
    verdict: str = ""
    summary: str = ""
    sections: Sequence[Section] = ()
    record: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    footer: str = ""
    scripts: Sequence[str] = field(default=())
    """Of this package's: ``slots.js`` answers for one slot."""


def render(page: Page) -> str:
    """The page as text. SetupError without the extra ``html``."""
    jinja2 = load("jinja2")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, finalize=_fit_to_show
    )
    template = environment.from_string(_file("page.html"))
    made: str = template.render(
        page=page,
        badge=badge(page.verdict) if page.verdict else "",
        style=style() + _file("style.css"),
        record=None if page.record is None else _embedded(page.record),
        scripts=[_file(name) for name in page.scripts],
    )
    return made


def ready(where: str | Path) -> None:
    """Raises SetupError where a page could not be made or written: to be asked before what it is to show takes time."""
    load("jinja2")
    load("matplotlib")
    folder = Path(where).absolute().parent
    if Path(where).is_dir() or not os.access(folder, os.W_OK):
        why = "it is a folder" if Path(where).is_dir() else f"{folder} is no folder that you may write to"
        raise SetupError(f"write the page {where}", why=why, hint="name another place")


def write_page(page: Page, where: str | Path) -> None:
    """Write the page to a file, whole or not at all. SetupError where that cannot be written."""
    text, place = render(page), Path(where)
    unfinished = place.with_name(f".{place.name}.part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(place)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise SetupError(f"write the page {where}", hint="name another place", errno=error.errno) from error


def _fit_to_show(value: object) -> object:
    return printable(value, keep="\n\t") if isinstance(value, str) and not hasattr(value, "__html__") else value


def _file(name: str) -> str:
    return (files("vfio_ims.html") / name).read_text(encoding="utf-8")


def _embedded(record: object) -> str:
    """JSON that nothing in it can end: a script element ends at the first ``</``."""
    return json.dumps(record, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")
