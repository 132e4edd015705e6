# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims trace``: what a recording holds, and the same for the viewers that people have."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vfio_ims.cli.output import echo
from vfio_ims.counted import counted
from vfio_ims.errors import SetupError

__all__ = ["DEVICE", "command"]


DEVICE = click.option(
    "--device", metavar="ID", default="", help="Of an mmiotrace: which function, by address or ids; else the busiest."
)


@click.group()
def command() -> None:
    """FILE is what --trace FILE wrote, or the text of Linux' mmiotrace: what a kernel driver did."""


@command.command("summary")
@click.argument("file")
@click.option("--most", type=click.IntRange(1), default=10, show_default=True, help="Lines of each kind.")
@DEVICE
def summary(file: str, most: int, device: str) -> None:
    """The registers that are used most, the loops that poll, and how the run begins."""
    from vfio_ims.tracing import read_any
    from vfio_ims.tracing.summary import summarise

    recording = read_any(file, device)
    echo(f"{recording.header['device']} ({recording.header['mount']}), {recording.header.get('time', '')}")
    if elsewhere := recording.header.get("elsewhere"):
        echo(f"{counted(elsewhere, 'access')} to other addresses")
    if unknown := recording.header.get("unknown"):
        echo(f"{counted(unknown, 'access')} that the kernel did not decode (UNKNOWN)")
    echo(str(summarise(recording, most)))


@command.command("show")
@click.argument("file")
@DEVICE
def show(file: str, device: str) -> None:
    """Every event as a line."""
    from vfio_ims.tracing import read_any
    from vfio_ims.tracing.words import in_words

    for event in read_any(file, device).events:
        echo(f"{event['t'] / 1e6:12.3f} ms  {in_words(event)}")


@command.command("convert")
@click.argument("file")
@click.option("--to", "form", type=click.Choice(["perfetto", "vcd", "mmiotrace"]), required=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; stdout without it.")
@DEVICE
def convert(file: str, form: str, output: Path | None, device: str) -> None:
    """For a viewer.

    perfetto: JSON for ui.perfetto.dev, with a flow to each interrupt. vcd: registers and vectors for GTKWave or Surfer,
    with pyvcd. mmiotrace: the text of Linux' tracer.
    """
    from vfio_ims.tracing import read_any
    from vfio_ims.tracing.mmiotrace import to_mmiotrace
    from vfio_ims.tracing.perfetto import to_perfetto
    from vfio_ims.tracing.vcd import to_vcd

    recording = read_any(file, device)
    match form:
        case "perfetto":
            text = json.dumps(to_perfetto(recording)) + "\n"
        case "vcd":
            text = to_vcd(recording)
        case _:
            text = "".join(to_mmiotrace(recording))
    if output is None:
        echo(text, nl=False)
    else:
        try:
            output.write_text(text)
        except OSError as error:
            raise SetupError(f"write {output}", errno=error.errno, hint="name another place with -o") from error
