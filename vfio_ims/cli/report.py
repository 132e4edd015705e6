# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims report``: one file for a bug report, or a page of what earlier runs found."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import device_argument, echo
from vfio_ims.errors import SetupError, UsageError

__all__ = ["command"]


@click.command()
@device_argument("subjects", metavar="DEVICE|RUN.json...", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Where to, - for stdout.  [vfio-ims-DEVICE.json]")
@click.option(
    "--html", metavar="FILE", type=click.Path(dir_okay=False), help="A page of RUN.json, or of two runs side by side."
)
def command(subjects: tuple[str, ...], output: str | None, html: str | None) -> int:
    """Of a DEVICE: doctor, sysfs, config space, decoded capabilities, versions.

    Nothing private: read it before you send it. show, doctor, list and read take it in place of the device, on any
    machine: vfio-ims show report:FILE.

    With --html FILE: a page of a run that selftest --json or --html wrote, or of two side by side.
    """
    if html is not None:
        return _page(subjects, output, html)
    if len(subjects) > 1:
        why = f"a bug report is of one device, not of {len(subjects)}"
        raise UsageError("report", why=why, hint="two runs side by side: --html FILE")
    return _bug_report(subjects[0], output)


def _page(files: tuple[str, ...], output: str | None, html: str) -> int:
    from vfio_ims.html import ready, write_page
    from vfio_ims.html.comparison import comparison_page
    from vfio_ims.html.reading import read_runs
    from vfio_ims.html.selftest import selftest_page

    if output is not None:
        raise UsageError(
            "make a page", why="-o is for a device's bug report", hint="--html FILE says where the page goes"
        )
    ready(html)
    runs = [run for file in files for run in read_runs(file)]
    if len(runs) > 2:
        why = f"a page shows one run or two, and there are {len(runs)}"
        raise UsageError("make a page", why=why, hint="name two files, each of one run")
    write_page(selftest_page(runs[0]) if len(runs) == 1 else comparison_page(*runs), html)
    echo(f"{html}: " + ("the run as a page" if len(runs) == 1 else "the two runs side by side"))
    return exits.OK


def _bug_report(device: str, output: str | None) -> int:
    from vfio_ims.cli.place import place
    from vfio_ims.host.report import make_report

    if Path(device).is_file():
        hint = f"a page of it: vfio-ims report {device} --html page.html"
        raise UsageError(f"report on {device}", why="it is a file, not a device", hint=hint)
    if "/" in device and ":" not in device:
        raise UsageError(f"report on {device}", why="there is no such file, and it is no device's name")
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
