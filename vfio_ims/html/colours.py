# SPDX-License-Identifier: Apache-2.0
"""The colours of pages, light and dark, as CSS variables. Each that means something has a shape or a word beside it.

Those of results are chosen to differ for every kind of colour vision, after Okabe and Ito, "Color Universal Design".
"""

from __future__ import annotations

import re

__all__ = ["LIGHT", "as_variables", "style"]

_COLOURS = {
    "page": ("#fdfdfc", "#15181c"),
    "text": ("#1c2126", "#e6e8ea"),
    "quiet": ("#5b6670", "#9aa5af"),
    "line": ("#d8dcdf", "#3a424a"),
    "shade": ("#f1f3f4", "#1f242a"),
    "good": ("#1b7f5c", "#3fc79a"),
    "bad": ("#b3380a", "#ff8a5c"),
    "caution": ("#8a5a00", "#f0b429"),
    "link": ("#0b62a8", "#79bdf2"),
    "delivered": ("#8cc3e6", "#27638c"),
    "withheld": ("#cfe3f1", "#2a4256"),
    "lost": ("#d55e01", "#e8702a"),
    "astray": ("#b04a8a", "#d27db0"),
    "wrong": ("#e69f02", "#c98a00"),
    "mark": ("#131517", "#ffffff"),
    "bars": ("#3b83b5", "#5aa7dc"),
}
LIGHT = {name: light for name, (light, _) in _COLOURS.items()}
"""By name: what pictures are drawn with, before they are made to follow the page."""

_BY_VALUE = {light: name for name, light in LIGHT.items()}


def style() -> str:
    """The variables: dark where the reader's system is, light on paper."""
    light, dark = ("".join(f"--{name}:{pair[side]};" for name, pair in _COLOURS.items()) for side in (0, 1))
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def as_variables(picture: str) -> str:
    """A picture in the light colours, with their variables instead: as it is part of the page, it follows."""
    return re.sub(
        r"#[0-9a-f]{6}\b", lambda found: f"var(--{_BY_VALUE[found[0]]})" if found[0] in _BY_VALUE else found[0], picture
    )
