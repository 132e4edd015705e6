# SPDX-License-Identifier: Apache-2.0
"""What the verbs print: people's text through rich, or one JSON document."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from vfio_ims.printable import printable
from vfio_ims.provenance import provenance

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = [
    "answer",
    "choose_colour",
    "console",
    "device_argument",
    "device_options",
    "echo",
    "hang",
    "json_option",
    "plain",
    "print_json",
    "print_json_line",
    "print_lines",
    "seconds",
    "with_interface",
]

SCHEMA_VERSION = "1.1"
"""Of every JSON answer. A new field raises the second number; a field that goes or changes, the first."""

_SHORT_LISTS = re.compile(r'\[(?:\s+(?:-?[\d.e+-]+|"[\d-]+"),?)+\s+\]')
"""Lists of numbers and of ranges: each stays on one line."""

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def seconds(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Lets through what a person may have meant by a time: above 0, and of a day at the most."""
    if value is None or 0 < value <= 86400:
        return value
    raise click.BadParameter(f"it must be a number of seconds above 0, such as 0.5, not {value:g}")


def device_argument(name: str = "device", **more: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The DEVICE argument, which shells complete."""
    return click.argument(name, shell_complete=_complete_device, **more)


def _complete_device(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from vfio_ims.cli.completing import complete_device

    return [*complete_device(context, parameter, incomplete)]


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The DEVICE argument and ``--iommu``."""
    choice = click.Choice(["auto", "type1", "iommufd", "none"])
    iommu = click.option("--iommu", type=choice, help="VFIO's interface: the same as ,iommu= in the name.")
    return device_argument()(iommu(command))


def with_interface(device: str, iommu: str | None) -> str:
    """``device`` with the interface as an option of its name."""
    return f"{device},iommu={iommu}" if iommu else device


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """``click.echo`` for text that may come from others: what a terminal would obey is printed as an escape.

    Messages (``err``) break between words where the terminal is too narrow for them.
    """
    shown = printable(text, keep="\n\t")
    if err and sys.stderr.isatty():
        width = max(os.get_terminal_size(sys.stderr.fileno()).columns or 80, 20)
        shown = "\n".join(_wrapped(line, width) for line in shown.split("\n"))
    click.echo(shown, err=err, nl=nl)


def _wrapped(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    parts = textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts) if len(line) > width else line


def answer(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """``content`` in the envelope."""
    return {"schema": f"vfio-ims/{kind}", "schema_version": SCHEMA_VERSION, **provenance(), **content}


def print_json(kind: str, content: dict[str, Any]) -> None:
    """``content`` in the envelope that every answer has (vfio_ims/schemas)."""
    document = json.dumps(answer(kind, content), indent=2)
    echo(_SHORT_LISTS.sub(lambda found: " ".join(found[0].split()), document))


def print_json_line(kind: str, content: dict[str, Any]) -> None:
    """The same on one line, for answers that follow each other."""
    echo(json.dumps(answer(kind, content)))


_colour = "auto"


def choose_colour(choice: str) -> None:
    """``always`` or ``never``, whatever the environment says; ``auto`` is what it says."""
    global _colour
    _colour = choice


def plain() -> bool:
    """Whether text has no escape code and nothing that moves: where NO_COLOR or a dumb terminal asks for that."""
    if _colour == "auto":
        return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return _colour == "never"


def console() -> Console:
    """For stdout. Colour obeys NO_COLOR, FORCE_COLOR and TERM; piped text is never cut at a width."""
    from vfio_ims.cli.terminal import PrintableConsole

    wide = None if sys.stdout.isatty() else 1 << 16  # what is read by programs stays on its line
    always = _colour == "always"
    colours: Literal["auto", "256"] | None = None if plain() else "256" if always else "auto"
    return PrintableConsole(
        highlight=False,
        soft_wrap=not sys.stdout.isatty(),
        width=wide,
        color_system=colours,
        force_terminal=True if always else None,
        no_color=False if always else None,
    )


def hang(out: Console, head: Text, text: Text) -> None:
    """``head`` and ``text`` on one line; on a terminal that is too narrow ``text`` goes on under its own beginning."""
    from rich.text import Text as Plain

    text = Plain(printable(text.plain))  # a newline of another's would begin a line that looks like ours
    lines = text.wrap(out, max(out.width - head.cell_len, 20)) if out.is_terminal else [text]
    for number, line in enumerate(lines):
        line.rstrip()
        out.print(Plain.assemble(Plain(" " * head.cell_len) if number else head, line), soft_wrap=True)


def print_lines(text: str) -> None:
    """Text in columns that are two spaces apart, to stdout: on a terminal the last column wraps under its beginning.

    Where the columns before leave too little room for it, it goes on the next line, further in.
    """
    from rich.text import Text

    out = console()
    for line in text.splitlines():
        columns = [match.end() for match in re.finditer(r"\S {2,}(?=\S)", line)]
        indent = len(line) - len(line.lstrip())
        start = columns[-1] if columns else indent
        if out.is_terminal and len(line) > out.width and start > out.width - 20:
            out.print(Text(line[:start].rstrip()), soft_wrap=True)
            hang(out, Text(" " * (indent + 4)), Text(line[start:]))
        else:
            hang(out, Text(line[:start]), Text(line[start:]))
