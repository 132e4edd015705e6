# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims diff``: two recordings side by side."""

from __future__ import annotations

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import echo

__all__ = ["command"]


@click.command()
@click.argument("left")
@click.argument("right")
@click.option("--registers", is_flag=True, help="Only which registers, in which order: no values.")
@click.option(
    "-U", "--context", type=click.IntRange(0), default=3, show_default=True, help="Lines around a difference."
)
def command(left: str, right: str, registers: bool, context: int) -> int:
    """What was done with the device in LEFT (-) and in RIGHT (+), both written by --trace; status 1 where they differ.

    Times, threads and how often a read was repeated are no differences.
    """
    from vfio_ims.tracing import read_recording
    from vfio_ims.tracing.compare import compare

    differs = False
    for line in compare(read_recording(left), read_recording(right), values=not registers, around=context):
        differs = True
        echo(line)
    return exits.FAILED if differs else exits.OK
