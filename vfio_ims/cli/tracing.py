# SPDX-License-Identifier: Apache-2.0
"""``--trace FILE`` and ``-vv``: what a verb does with the devices that it opens, in a file and on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import click

from vfio_ims.cli.output import echo

__all__ = ["print_events", "trace_option", "verb_trace_options"]

_META = "vfio_ims.trace_memory"
_HELP = "Record every access, verb and interrupt of the device to FILE (JSON lines; .gz compresses)."
_HELP_MEMORY = "With --trace: the contents of DMA memory, too, which replay:FILE needs."


def _begin(context: click.Context, parameter: click.Parameter, given: Path | None) -> None:
    if given is None:
        return
    from vfio_ims.tracing import trace_opened

    context.with_resource(trace_opened(given, contents=context.meta.get(_META, False)))


def _keep(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given:
        context.meta[_META] = True


_MEMORY: dict[str, Any] = {"is_flag": True, "is_eager": True, "expose_value": False, "callback": _keep}
_FILE: dict[str, Any] = {
    "metavar": "FILE",
    "type": click.Path(dir_okay=False, path_type=Path),
    "expose_value": False,
    "callback": _begin,
}


def trace_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options before the verb."""
    memory = click.option("--trace-memory", help=_HELP_MEMORY, **_MEMORY)
    return memory(click.option("--trace", help=_HELP, **_FILE)(command))


def verb_trace_options() -> list[click.Option]:
    """The same after a verb that opens devices."""
    return [click.Option(["--trace-memory"], hidden=True, **_MEMORY), click.Option(["--trace"], hidden=True, **_FILE)]


class _Printer:
    """A file whose lines are events; it prints them in words."""

    def write(self, line: str) -> None:
        from vfio_ims.tracing.words import in_words

        event = json.loads(line)
        if "format" in event:
            echo(f"trace of {event['device']} ({event['mount']})", err=True)
        elif event["k"] != "thread":
            echo(f"{event['t'] / 1e6:12.3f} ms  {in_words(event)}", err=True)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Stderr stays."""


def print_events() -> None:
    """Print what is done with the devices that are opened while the command runs."""
    from vfio_ims.tracing.attach import trace_into

    click.get_current_context().with_resource(trace_into(lambda number: cast("IO[str]", _Printer()), replays=False))
