# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share: which functions, and how the host is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vfio_ims.errors import SetupError, UsageError

if TYPE_CHECKING:
    from vfio_ims.host import Machine
    from vfio_ims.sysfs import Function

__all__ = ["change_options", "chosen", "function_options", "machine_for", "names_argument"]


def names_argument(metavar: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Any number of functions of this machine, which shells complete."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from vfio_ims.cli.completing import complete_function

        return [*complete_function(context, parameter, incomplete)]

    return click.argument("names", nargs=-1, metavar=metavar, shell_complete=complete)


def function_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Names, ``-s`` and ``-d``."""
    slot = click.option(
        "-s", "slot", default="", metavar="SLOT", help="[[[DOMAIN:]BUS:]DEVICE][.FUNCTION] as in lspci."
    )
    ids = click.option("-d", "ids", default="", metavar="IDS", help="[VENDOR]:[DEVICE][:CLASS[:PROGIF]] as in lspci.")
    return names_argument("[NAME]...")(slot(ids(command)))


def change_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--dry-run``, ``--force``, ``--state``."""
    dry = click.option("-n", "--dry-run", is_flag=True, help="Print each write, and make none.")
    force = click.option("--force", is_flag=True, help="Also when something uses the function.")
    state = click.option(
        "--state", type=click.Path(file_okay=False, path_type=Path), help="The journal's folder, not /run/vfio-ims."
    )
    return dry(force(state(command)))


@contextmanager
def machine_for(names: tuple[str, ...], verb: str, *, dry_run: bool) -> Iterator[tuple[Machine, tuple[str, ...]]]:
    """This machine and ``names``; or that of a report among them, on which nothing can be done but a dry run."""
    from vfio_ims.cli.place import place
    from vfio_ims.host import Machine

    reports = [name for name in names if name.startswith("report:")]
    if not reports:
        yield Machine(), names
        return
    if len(names) > 1:
        raise UsageError(verb, why="a report is a device of its own machine: name it alone")
    if not dry_run:
        why = "a report is only there to be looked at"
        raise UsageError(verb, device=names[0], why=why, hint="-n prints what would be written on its machine")
    with place(names[0]) as (machine, function):
        yield machine, (str(function),)


def chosen(machine: Machine, names: tuple[str, ...], slot: str, ids: str, verb: str) -> list[Function]:
    """The functions that were asked for. Raises UsageError where nothing was, SetupError where there are none."""
    from vfio_ims.host import Selection

    selection = Selection.parse(machine, names, slot, ids)
    if selection.open:
        why = "a function must be named, by address, glob, kernel name, -s or -d"
        raise UsageError(verb, why=why, hint="vfio-ims list shows those that there are")
    found = [function for function in machine.functions() if selection.takes(function)]
    if not found:
        what = " ".join((*names, *((f"-s {slot}",) if slot else ()), *((f"-d {ids}",) if ids else ())))
        hint = "vfio-ims list --all shows what there is"
        raise SetupError(verb, device=what, why="there is no such PCI function on this machine", hint=hint)
    return found
