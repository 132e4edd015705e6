# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims doctor``: what stands in the way, and its fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import console, device_argument, hang, json_option, print_json, print_lines

if TYPE_CHECKING:
    from vfio_ims.host.doctor import Result

__all__ = ["command", "print_results"]


@click.command()
@device_argument(required=False)
@click.option("-q", "--quiet", is_flag=True, help="Only what is not well.")
@click.option("--memory", default="4M", show_default=True, metavar="SIZE", help="DMA memory that you will map.")
@json_option
def command(device: str | None, quiet: bool, memory: str, as_json: bool) -> int:
    """Looks at the machine, and at DEVICE where one is named: an address, a kernel name, report:FILE. Changes nothing.

    Exit status 0 when nothing fails, 3 when something does. Needs no privilege, and says what it could not see.
    """
    from vfio_ims.cli.place import place
    from vfio_ims.host.doctor import diagnose, first_step

    with place(device, "examine it") as (machine, function):
        results = diagnose(machine, function, memory=_bytes(memory))
    step = first_step(results) or (None if device is None else f"vfio-ims selftest {device}")
    if as_json:
        print_json("doctor", {"device": device, "checks": [result.to_json() for result in results], "next": step})
    else:
        print_results(results, quiet=quiet)
        print_lines(f"Next:  {step or 'vfio-ims list'}")
    return exits.NOT_READY if any(result.failed for result in results) else exits.OK


def _bytes(text: str) -> int:
    units = {"K": 10, "M": 20, "G": 30}
    digits = text.rstrip("iB")
    shift = units.get(digits[-1:].upper(), 0)
    number = digits[:-1] if shift else digits
    if not number.isdecimal():
        raise click.UsageError(f"--memory must be a size such as 512M, not {text!r}")
    return int(number) << shift


_STYLE = {"ok": "green", "note": "cyan", "warn": "yellow", "FAIL": "bold red", "unknown": "magenta"}


def print_results(results: Sequence[Result], *, quiet: bool = False) -> None:
    """One line a check, under its group's name; cause and remedy below those that are not well."""
    from rich.text import Text

    out = console()
    group = ""
    for result in results:
        if quiet and result.status in ("ok", "note"):
            continue
        if result.group != group:
            group = result.group
            out.print(Text(group, style="bold"))
        status = Text("  ").append(f"{result.status:<8}", style=_STYLE[result.status])
        hang(out, status, Text(f"{result.check}: {result.evidence.removeprefix(f'{result.check}: ')}"))
        for word, text in (("cause", result.cause), ("do", result.fix)):
            if text:
                hang(out, Text(f"{word:>15}  ", style="dim"), Text(text))
    counts = {status: sum(1 for one in results if one.status == status) for status in _STYLE}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    out.print(Text(summary or "nothing to say"))
