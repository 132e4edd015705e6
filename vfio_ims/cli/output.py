# SPDX-License-Identifier: Apache-2.0
"""What the verbs print: people's text through rich, or one JSON document."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

from vfio_ims import __version__
from vfio_ims.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = [
    "console",
    "device_options",
    "echo",
    "hang",
    "json_option",
    "plain",
    "print_json",
    "progress",
    "seconds",
    "with_interface",
]

SCHEMA_VERSION = "1.0"
"""Of every JSON answer. A new field raises the second number; a field that goes or changes, the first."""

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def seconds(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Lets through what a person may have meant by a time: above 0, and of a day at the most."""
    if value is None or 0 < value <= 86400:
        return value
    raise click.BadParameter(f"it must be a number of seconds above 0, such as 0.5, not {value:g}")


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The DEVICE argument and ``--iommu``."""
    choice = click.Choice(["auto", "type1", "iommufd", "none"])
    iommu = click.option("--iommu", type=choice, help="VFIO's interface: the same as ,iommu= in the name.")
    return click.argument("device")(iommu(command))


def with_interface(device: str, iommu: str | None) -> str:
    """``device`` with the interface as an option of its name."""
    return f"{device},iommu={iommu}" if iommu else device


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """``click.echo`` for text that may come from others: what a terminal would obey is printed as an escape."""
    click.echo(printable(text, keep="\n\t"), err=err, nl=nl)


def print_json(kind: str, content: dict[str, Any]) -> None:
    """``content`` in the envelope that every answer has."""
    envelope = {"schema": f"vfio-ims/{kind}", "schema_version": SCHEMA_VERSION, "tool_version": __version__}
    echo(json.dumps(envelope | content, indent=2))


def plain() -> bool:
    """Whether NO_COLOR asks for text without any escape code: no colour, nothing bold, nothing that moves."""
    return bool(os.environ.get("NO_COLOR"))


def console() -> Console:
    """For stdout. Colour obeys NO_COLOR, FORCE_COLOR and TERM; piped text is never cut at a width."""
    from vfio_ims.cli.terminal import PrintableConsole

    wide = None if sys.stdout.isatty() else 160
    colours: Literal["auto"] | None = None if plain() else "auto"
    return PrintableConsole(highlight=False, soft_wrap=not sys.stdout.isatty(), width=wide, color_system=colours)


def hang(out: Console, head: Text, text: Text) -> None:
    """``head`` and ``text`` on one line; on a terminal that is too narrow ``text`` goes on under its own beginning."""
    from rich.text import Text as Plain

    text = Plain(printable(text.plain))  # a newline of another's would begin a line that looks like ours
    lines = text.wrap(out, max(out.width - head.cell_len, 20)) if out.is_terminal else [text]
    for number, line in enumerate(lines):
        line.rstrip()
        out.print(Plain.assemble(Plain(" " * head.cell_len) if number else head, line), soft_wrap=True)


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yields ``report(step, done, total)``. Shown on a terminal's stderr only, gone when it ends."""
    if not sys.stderr.isatty() or plain():
        yield lambda step, done, total: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from vfio_ims.cli.terminal import PrintableConsole

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=PrintableConsole(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda step, done, total: bar.update(task, description=f"{title}: {step}", completed=done, total=total)
