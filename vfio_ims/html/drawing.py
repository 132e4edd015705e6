# SPDX-License-Identifier: Apache-2.0
"""Drawing with matplotlib: a figure that becomes SVG within the page, in the page's own colours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from itertools import count
from typing import TYPE_CHECKING, Any

from vfio_ims.html.colours import LIGHT, as_variables
from vfio_ims.html.elements import markup
from vfio_ims.html.extra import load

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["draw", "polylines", "rectangles"]

POINTS = 72  # an inch
_NUMBERS = count()
_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be found, copied and read out
    "svg.hashsalt": "vfio-ims",
    "path.simplify": False,
    "font.size": 9,
    "text.color": LIGHT["text"],
    "axes.edgecolor": LIGHT["quiet"],
    "axes.labelcolor": LIGHT["quiet"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": LIGHT["quiet"],
    "ytick.color": LIGHT["quiet"],
    "grid.color": LIGHT["line"],
    "axes.axisbelow": True,
}


def draw(width: float, height: float, paint: Callable[[Any], None], says: str) -> Markup:
    """A picture, ``width`` by ``height`` points, whose one pair of axes ``paint`` fills. ``says``: for screen readers.

    SetupError without matplotlib.
    """
    figures, contexts = load("matplotlib.figure"), load("matplotlib")
    with contexts.rc_context(_STYLE):
        figure = figures.Figure(figsize=(width / POINTS, height / POINTS), layout="constrained")
        figure.patch.set_alpha(0)
        paint(figure.add_subplot())
        out = StringIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return markup("{}", load("markupsafe").Markup(_inline(out.getvalue(), width, says)))


def _inline(svg: str, width: float, says: str) -> str:
    """The svg element alone: ids of its own in the page, numbers as short as eyes need, the page's colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    own = f"p{next(_NUMBERS)}-"
    body = re.sub(r'\bid="', f'id="{own}', body)
    body = re.sub(r'href="#', f'href="#{own}', body)
    body = re.sub(r"url\(#", f"url(#{own}", body)
    body = re.sub(r"(\d+\.\d\d)\d+", r"\1", body)
    body = re.sub(r'(<svg [^>]*?)\bwidth="[^"]*" height="[^"]*"', r"\1", re.sub(r"<!--.*?-->", "", body), count=1)
    head = f'<svg role="img" style="width:{width:.0f}pt;min-width:min({width:.0f}pt,40rem)" '
    body = body.replace("<svg ", head, 1)
    name = str(markup("<title>{}</title>", says))
    body = re.sub(r"(<svg [^>]*>)", lambda found: found[1] + name, body, count=1)
    return as_variables(re.sub(r"\n\s*", "\n", body))


def rectangles(axes: Any, corners: Iterable[tuple[float, float, float, float]], colour: str) -> None:
    """Rectangles (left, top, right, bottom), all in one path."""
    outlines = [[(x, y), (right, y), (right, bottom), (x, bottom), (x, y)] for x, y, right, bottom in corners]
    _path(axes, outlines, closed=True, facecolor=LIGHT[colour], edgecolor="none")


def polylines(
    axes: Any, lines: Iterable[Sequence[tuple[float, float]]], colour: str, width: float, *, name: str | None = None
) -> None:
    """Lines, all in one path, whose element's id ends in ``name``."""
    _path(axes, list(lines), closed=False, facecolor="none", edgecolor=LIGHT[colour], linewidth=width, gid=name)


def _path(axes: Any, outlines: list[Any], *, closed: bool, **look: Any) -> None:
    if not outlines:
        return
    paths, patches = load("matplotlib.path"), load("matplotlib.patches")
    vertices, codes = [], []
    for outline in outlines:
        vertices += outline
        codes += [paths.Path.MOVETO, *[paths.Path.LINETO] * (len(outline) - 1)]
        if closed:
            codes[-1] = paths.Path.CLOSEPOLY
    axes.add_patch(patches.PathPatch(paths.Path(vertices, codes), **look))
