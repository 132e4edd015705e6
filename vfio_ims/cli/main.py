# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims``: the verbs, each loaded when it is called, so that ``--help`` needs neither native code nor udev."""

from __future__ import annotations

import os
import sys
import warnings
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from inspect import cleandoc
from io import StringIO

import click

from vfio_ims import __version__
from vfio_ims.cli import exits, stopping
from vfio_ims.cli.driver_folders import driver_option, load_given, verb_driver_option
from vfio_ims.cli.output import choose_colour, echo
from vfio_ims.cli.reader import reader_may_leave
from vfio_ims.cli.tracing import trace_option, verb_trace_options

__all__ = ["cli", "main"]

_VERBS = {
    "list": "The PCI functions of this machine that have, or may have, IMS.",
    "show": "What a device is: identity, BARs, capabilities, interrupts, and whether IMS can be used.",
    "doctor": "What stands in the way, with its cause and the command that fixes it.",
    "bind": "Give a function to vfio-pci, so that programs may open it.",
    "unbind": "Leave a function without a driver.",
    "restore": "Bring back the drivers that were there before bind and unbind.",
    "read": "Registers of config space and BARs, by setpci's spelling or the driver's names.",
    "write": "Write registers of config space and BARs.",
    "reset": "Reset a device in the ways that there are, and see that it came back.",
    "monitor": "Devices coming and going, or what one of them is doing.",
    "report": "One file for a bug report, that other verbs read as a device; or a page of earlier runs.",
    "udev": "Rules by which the members of a group may open devices.",
    "prove": "From the doctor to the self-test and back: can this machine use the device?",
    "selftest": "Fire every slot of a device and reconcile every interrupt.",
    "trace": "Recordings of --trace: summary, every event, conversion for viewers.",
    "diff": "Two recordings side by side.",
    "serve": "Serve a device model, or a function that is opened here, on a vfio-user socket.",
    "check-server": "What any vfio-user server must do, asked of one that others made.",
    "new": "The folder of a new family of devices, which runs at once.",
    "demo": "A device with IMS, in software: open it, fire a slot, receive the interrupt.",
    "completion": "What bash, zsh or fish runs to complete command lines.",
}
_OPENING = frozenset({"show", "read", "write", "reset", "monitor", "prove", "selftest", "serve", "demo"})
"""Those that open devices: what is done with them can be recorded."""


@cache
def _loaded(name: str) -> click.Command:
    """The verb's command with its summary, and with ``--driver``: it is understood before the verb and after it."""
    command: click.Command = import_module(f"vfio_ims.cli.{name.replace('-', '_')}").command
    command.name = name
    command.help = f"{_VERBS[name]}\n\n{cleandoc(command.help or '')}"
    command.params.append(verb_driver_option())
    if name in _OPENING:
        command.params += verb_trace_options()
    return command


class Verbs(click.Group):
    """A group whose commands are modules of this folder."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        return _loaded(name)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            near = get_close_matches(args[0], _VERBS, n=1, cutoff=0.5)
            meant = f" Did you mean {near[0]!r}?" if near else f" There are {', '.join(_VERBS)}."
            context.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="vfio-ims")
@click.option("-v", "--verbose", count=True, help="Log to stderr; twice: each access of a device, too.")
@click.option("-L", "logs", multiple=True, metavar="[LOGGER=]LEVEL", help="Log of one part: host=debug.")
@click.option(
    "--color", "colour", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colour and bold.  [auto]"
)
@driver_option
@trace_option
def cli(verbose: int, logs: tuple[str, ...], colour: str, folders: tuple[str, ...]) -> None:
    """Bring up and test the Interrupt Message Store (IMS) of PCIe devices, through VFIO, from user space.

    DEVICE is a PCI address (0000:6a:01.0), mock:MODEL, vfio-user:SOCKET, or replay:FILE, which --trace FILE recorded;
    to look only, report:FILE too.

    Exit status: 0 all well; 1 a check or the device failed; 2 wrong usage; 3 the host is not ready;
    4 nothing to do; 130 interrupted, 143 terminated.
    """
    warnings.showwarning = _show_warning
    choose_colour(colour)
    if verbose or logs:
        from vfio_ims.cli.logs import log_to_stderr

        log_to_stderr(everything=verbose > 1, chosen=logs)
    if verbose > 1:
        from vfio_ims.cli.tracing import print_events

        print_events()
    load_given(folders)


def _show_warning(message: Warning | str, category: type[Warning], *more: object, **_: object) -> None:
    """For people: what it says. What helps a programmer only, such as a forgotten close, keeps its usual form."""
    if issubclass(category, RuntimeWarning):
        echo(f"vfio-ims: warning: {message}", err=True)
    else:
        echo(warnings.formatwarning(message, category, str(more[0]), int(str(more[1]))), err=True, nl=False)


def main(arguments: list[str] | None = None) -> None:
    """The console script. Errors of ours are one message and a status, never a traceback."""
    try:
        with reader_may_leave():
            status = _run(arguments)
    except OSError as error:  # the last of the output could not be written
        status = exits.report(error)
    sys.exit(status)


def _run(arguments: list[str] | None) -> int:
    """The verb's exit status; what it raised is on stderr."""
    if "_VFIO_IMS_COMPLETE" in os.environ:
        from vfio_ims.cli.completing import register

        register()
    try:
        with stopping.terminable():
            status = cli.main(arguments, prog_name="vfio-ims", standalone_mode=False)
    except click.exceptions.Abort:
        return stopping.status()
    except click.ClickException as error:
        shown = StringIO()
        error.show(file=shown)
        echo(shown.getvalue(), err=True, nl=False)
        return exits.USAGE
    except KeyboardInterrupt:
        return stopping.status()
    except Exception as error:  # noqa: BLE001 - raised again where it is not ours
        return exits.report(error)
    return status if isinstance(status, int) else exits.OK


if __name__ == "__main__":
    main()
