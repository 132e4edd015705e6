# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims diff``: two recordings side by side."""

from __future__ import annotations

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import echo
from vfio_ims.cli.trace import DEVICE

__all__ = ["command"]


@click.command()
@click.argument("left")
@click.argument("right")
@click.option("--registers", is_flag=True, help="Only which registers, in which order: no values.")
@click.option(
    "-U", "--context", type=click.IntRange(0), default=3, show_default=True, help="Lines around a difference."
)
@DEVICE
def command(left: str, right: str, registers: bool, context: int, device: str) -> int:
    """What was done with the device in LEFT (-) and in RIGHT (+), both written by --trace; status 1 where they differ.

    Times, threads and how often a read was repeated are no differences. One may be the text of Linux' mmiotrace, of a
    kernel driver: then single register accesses are compared.
    """
    from vfio_ims.tracing import read_any
    from vfio_ims.tracing.compare import compare
    from vfio_ims.tracing.reading import alike_in_kind

    differs = False
    ours, theirs = alike_in_kind(read_any(left, device), read_any(right, device))
    for line in compare(ours, theirs, values=not registers, around=context):
        differs = True
        echo(line)
    return exits.FAILED if differs else exits.OK
