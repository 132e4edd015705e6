# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims trace``: what a recording holds, and the same for the viewers that people have."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vfio_ims.cli.output import echo

__all__ = ["command"]


@click.group()
def command() -> None:
    """FILE is what --trace FILE wrote."""


@command.command("summary")
@click.argument("file")
@click.option("--most", type=click.IntRange(1), default=10, show_default=True, help="Lines of each kind.")
def summary(file: str, most: int) -> None:
    """The registers that are used most, the loops that poll, and how the run begins."""
    from vfio_ims.tracing import read_recording
    from vfio_ims.tracing.summary import summarise

    recording = read_recording(file)
    echo(f"{recording.header['device']} ({recording.header['mount']}), {recording.header.get('time', '')}")
    echo(str(summarise(recording, most)))


@command.command("show")
@click.argument("file")
def show(file: str) -> None:
    """Every event as a line."""
    from vfio_ims.tracing import read_recording
    from vfio_ims.tracing.words import in_words

    for event in read_recording(file).events:
        echo(f"{event['t'] / 1e6:12.3f} ms  {in_words(event)}")


@command.command("convert")
@click.argument("file")
@click.option("--to", "form", type=click.Choice(["perfetto", "vcd", "mmiotrace"]), required=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; stdout without it.")
def convert(file: str, form: str, output: Path | None) -> None:
    """For a viewer.

    perfetto: JSON for ui.perfetto.dev, with a flow to each interrupt. vcd: registers and vectors for GTKWave or Surfer,
    with pyvcd. mmiotrace: the text of Linux' tracer.
    """
    from vfio_ims.tracing import read_recording
    from vfio_ims.tracing.mmiotrace import to_mmiotrace
    from vfio_ims.tracing.perfetto import to_perfetto
    from vfio_ims.tracing.vcd import to_vcd

    recording = read_recording(file)
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
        output.write_text(text)
