# SPDX-License-Identifier: Apache-2.0
"""Pieces of a page. Each escapes what it is given: text of devices and drivers is shown, and obeyed by nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from vfio_ims.html.extra import load
from vfio_ims.printable import printable

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["badge", "facts", "figure", "findings", "join", "markup", "outcomes", "paragraph", "side_by_side", "table"]

SYMBOLS = {"passed": "✓", "failed": "✗", "interrupted": "■", "not applicable": "–", "not run": "·"}
"""Beside the colour, for those who do not see it. Any other word has none."""


def markup(template: str, *values: object) -> Markup:
    """``template``, trusted, with ``values`` escaped in its ``{}``: control characters too, which nothing may obey."""
    shown = [value if hasattr(value, "__html__") else printable(str(value), keep="\n") for value in values]
    made: Markup = load("markupsafe").Markup(template).format(*shown)
    return made


def join(parts: Iterable[Markup]) -> Markup:
    """Several pieces, one after the other."""
    made: Markup = load("markupsafe").Markup("\n").join(parts)
    return made


def paragraph(text: object, kind: str = "") -> Markup:
    """``kind``: "" or "note", which is smaller and grey."""
    return markup('<p class="{}">{}</p>', kind, text)


def badge(word: str) -> Markup:
    """An outcome as a coloured word with its symbol."""
    return markup('<span class="badge {}">{} {}</span>', word.replace(" ", "-"), SYMBOLS.get(word, "•"), word)


def outcomes(rows: Iterable[tuple[str, str, object]]) -> Markup:
    """A list of name, outcome ("passed", "failed", "not applicable", "not run", …) and text."""
    return table(("", "", ""), ((name, badge(outcome), text) for name, outcome, text in rows), text=[2], head=False)


def facts(pairs: Mapping[str, object]) -> Markup:
    """Names and what they are; what is empty is left out."""
    rows = join(markup("<dt>{}</dt><dd>{}</dd>", name, value) for name, value in pairs.items() if value != "")
    return markup("<dl>{}</dl>", rows)


def table(
    header: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Iterable[int] = (),
    text: Iterable[int] = (),
    head: bool = True,
    differ: Iterable[int] = (),
) -> Markup:
    """A table with the ``header``'s titles and ``rows`` below; ``head`` False leaves the titles out.

    ``numbers``: columns that are set to the right; ``text``: columns of sentences, which are not squeezed. ``differ``:
    rows that are marked, by a bar and in bold.
    """
    marked = set(differ)
    kinds = dict.fromkeys(range(len(header)), "") | dict.fromkeys(numbers, "number") | dict.fromkeys(text, "text")
    top = join(
        markup('<th class="{}" scope="col">{}</th>', kind, name)
        for kind, name in zip(kinds.values(), header, strict=True)
    )
    body = []
    for place, row in enumerate(rows):
        cells = [
            markup('<th class="{}" scope="row">{}</th>' if not number else '<td class="{}">{}</td>', kind, cell)
            for number, (kind, cell) in enumerate(zip(kinds.values(), row, strict=True))
        ]
        body.append(markup('<tr class="{}">{}</tr>', "differs" if place in marked else "", join(cells)))
    shown = markup("<thead><tr>{}</tr></thead>", top) if head else ""
    return markup('<div class="wide"><table>{}<tbody>{}</tbody></table></div>', shown, join(body))


def findings(found: Iterable[Mapping[str, object]]) -> Markup:
    """What is wrong, each with the evidence and what to do next: ``text``, ``slots``, ``status``, ``hint``."""
    items = []
    for finding in found:
        slots = finding.get("slots")
        more = {
            "slots": ", ".join(map(str, slots)) if isinstance(slots, (list, tuple)) else "",
            "device status": finding.get("status", ""),
            "next": finding.get("hint", ""),
        }
        said = {name: value for name, value in more.items() if value}
        items.append(markup("<li><p>{}</p>{}</li>", finding.get("text", ""), facts(said) if said else ""))
    return markup('<ol class="findings">{}</ol>', join(items))


def figure(picture: Markup, caption: object = "", *, attributes: Mapping[str, object] | None = None) -> Markup:
    """A ``picture`` with its ``caption``; ``attributes``: data-… of the element, for the page's script."""
    data = join(markup(' data-{}="{}"', name, value) for name, value in (attributes or {}).items())
    shown = markup("<figcaption>{}</figcaption>", caption) if caption else ""
    return markup("<figure{}>{}{}</figure>", data, shown, picture)


def side_by_side(parts: Iterable[Markup], kind: str = "") -> Markup:
    """Beside each other where there is room.

    ``kind``: "small" for many small pictures, "two" for two halves, "stacked" for wide ones, below each other.
    """
    return markup('<div class="beside {}">{}</div>', kind, join(parts))
