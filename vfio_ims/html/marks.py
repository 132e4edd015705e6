# SPDX-License-Identifier: Apache-2.0
"""How the result of a slot looks: a colour, and lines in its cell, so that it is known without the colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vfio_ims.html.colours import LIGHT, as_variables
from vfio_ims.html.elements import join, markup
from vfio_ims.html.extra import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from markupsafe import Markup

__all__ = ["LOOKS", "UNTESTED", "Look", "legend", "severity"]

Point = tuple[float, float]


class Look(NamedTuple):
    """``lines``: in a cell from (0, 0), top left, to (1, 1). ``meaning``: for the legend."""

    colour: str
    lines: tuple[tuple[Point, ...], ...]
    meaning: str
    good: bool = False


_A, _B, _M = 0.22, 0.78, 0.5
_SLASH, _BACK = ((_A, _B), (_B, _A)), ((_A, _A), (_B, _B))
_LEVEL, _UPRIGHT = ((_A, _M), (_B, _M)), ((_M, _A), (_M, _B))

LOOKS = {
    "withheld": Look("withheld", (), "fired masked, or for another PASID: nothing came, as it must be", good=True),
    "delivered": Look("delivered", (), "its owner was woken, once", good=True),
    "woken": Look("delivered", (), "its owner was woken by the reset", good=True),
    "extra event": Look("wrong", (((_A, 0.35), (_B, 0.35)), ((_A, 0.65), (_B, 0.65))), "more events than fires"),
    "source not named": Look("wrong", (((_B, _A), (_A, _M), (_B, _B)),), "the event came, fired() did not name it"),
    "refusal not reported": Look("wrong", (((_A, _A), (_B, _A)), _UPRIGHT), "refused, and the device did not say so"),
    "no pending bit": Look("wrong", (((_A, _A), (_M, _B), (_B, _A)),), "fired masked, and no pending bit was shown"),
    "not woken": Look("lost", (((_A, _A), (_B, _M), (_A, _B)),), "the reset did not wake its owner"),
    "unexpected": Look("wrong", (_LEVEL, _UPRIGHT), "came although masked, or for another PASID"),
    "refused": Look("lost", (_LEVEL,), "the device refused a fire that it must accept"),
    "lost": Look("lost", (_SLASH, _BACK), "its owner was not woken in time"),
    "late": Look("lost", (_BACK,), "came, but later than that"),
    "pending not sent": Look("lost", (((_A, _B), (_M, _A), (_B, _B)),), "unmasked, still pending, nothing sent"),
    "misrouted": Look("astray", (_SLASH,), "arrived where another slot's messages must"),
}
"""By the word of the self-test's JSON, from good to bad."""

UNTESTED = "not tested"


def severity(result: str) -> int:
    """Orders results: the higher the worse; those that are not known are worst."""
    return list(LOOKS).index(result) if result in LOOKS else len(LOOKS)


def look_of(result: str) -> Look:
    """Also of a word that a later version wrote."""
    return LOOKS.get(result, Look("wrong", (_UPRIGHT,), "a result that this version does not know"))


def legend(results: Iterable[str]) -> Markup:
    """Those that occur, from good to bad, each with its cell."""
    items = []
    for result in sorted(set(results), key=severity):
        look = look_of(result)
        drawn = "".join(f'<polyline points="{_points(line)}"/>' for line in look.lines)
        cell = (
            f'<svg viewBox="0 0 20 20" aria-hidden="true"><rect width="20" height="20" fill="{LIGHT[look.colour]}"/>'
            f'<g fill="none" stroke="{LIGHT["mark"]}" stroke-width="2">{drawn}</g></svg>'
        )
        picture = load("markupsafe").Markup(as_variables(cell))
        items.append(markup("<li>{}<b>{}</b>: {}</li>", picture, result, look.meaning))
    return markup('<ul class="legend">{}</ul>', join(items))


def _points(line: tuple[Point, ...]) -> str:
    return " ".join(f"{20 * x:g},{20 * y:g}" for x, y in line)
