# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims udev``: rules by which members of a group may open devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import echo, json_option, print_json

__all__ = ["command"]


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    group = click.option("--group", default="vfio", show_default=True, help="Whose members may open devices.")
    any_device = click.option("--any-device", is_flag=True, help="Whatever is bound to VFIO, not only known devices.")
    return group(any_device(command))


def _text(group: str, any_device: bool) -> str:
    from vfio_ims.families import all_families
    from vfio_ims.host.rules import make_rules

    return make_rules(all_families(), group, any_device=any_device)


@click.group()
def command() -> None:
    """The rules are made from the ids of the drivers that are installed; udev-rules/ has them as files."""


@command.command("print")
@_options
@click.option("--sysusers", is_flag=True, help="The file that has systemd make the group, instead.")
def print_(group: str, any_device: bool, sysusers: bool) -> int:
    """Print the rules."""
    from vfio_ims.host.rules import make_sysusers

    echo(make_sysusers(group) if sysusers else _text(group, any_device), nl=False)
    return exits.OK


@command.command()
@_options
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def install(group: str, any_device: bool, dry_run: bool) -> int:
    """Write them to /etc, make the group, have udevd apply them."""
    from vfio_ims.host import Machine
    from vfio_ims.host.rules_place import install as put

    put(Machine(), _text(group, any_device), group, on_action=echo, dry_run=dry_run)
    echo(f"Next, for each user: sudo usermod -aG {group} USER, and log in again. Then: vfio-ims udev check")
    return exits.OK


@command.command()
@click.option("--group", default="vfio", show_default=True)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def remove(group: str, dry_run: bool) -> int:
    """Take them away again."""
    from vfio_ims.host import Machine
    from vfio_ims.host.rules_place import remove as take

    if take(Machine(), group, on_action=echo, dry_run=dry_run):
        return exits.OK
    echo("There are none in /etc.", err=True)
    return exits.NOTHING


@command.command()
@_options
@json_option
def check(group: str, any_device: bool, as_json: bool) -> int:
    """Report whether they are in place and say what they should, the group exists, and this user is in it.

    Exit status 0 when all of it is so, else 1.
    """
    from vfio_ims.host import Machine
    from vfio_ims.host.doctor.rules import judge_rules

    results = judge_rules(Machine(), _text(group, any_device), group, even_for_root=True)
    step = next((result.fix for result in results if result.failed), None)
    if as_json:
        print_json("udev-check", {"checks": [result.to_json() for result in results], "next": step})
    else:
        from vfio_ims.cli.doctor import print_results

        print_results(results)
        if step is not None:
            echo(f"next: {step}")
    return exits.OK if step is None else exits.FAILED
