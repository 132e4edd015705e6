# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims report``: one file for a bug report."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import echo
from vfio_ims.errors import SetupError

__all__ = ["command"]


@click.command()
@click.argument("device")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Where to, - for stdout.  [vfio-ims-DEVICE.json]")
def command(device: str, output: str | None) -> int:
    """Doctor, sysfs, config space, decoded capabilities, versions. Nothing private: read it before you send it.

    show, doctor, list and read take it in place of the device, on any machine: vfio-ims show report:FILE.
    """
    from vfio_ims.cli.place import place
    from vfio_ims.host.report import make_report

    with place(device, "report on it") as (machine, function):
        assert function is not None
        content = make_report(machine, function)
        short = function.config is None or not function.config.standard_readable
    text = json.dumps(content, indent=1)
    if output == "-":
        echo(text)
        return exits.OK
    where = Path(output or f"vfio-ims-{content['device'].replace(':', '-')}.json")
    try:
        where.write_text(text + "\n")
    except OSError as error:
        hint = "name another place with -o, or - for stdout"
        raise SetupError(f"write the report {where}", hint=hint, errno=error.errno) from error
    if short:
        echo("Only 64 bytes of config space could be read: with sudo the report has all of it.", err=True)
    echo(f"{where}: read it with vfio-ims show report:{where}")
    return exits.OK
