# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims restore``: what was there before we came."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import echo
from vfio_ims.cli.selecting import change_options, names_argument

if TYPE_CHECKING:
    from vfio_ims.host import Machine

__all__ = ["command"]


@click.command()
@names_argument("[DEVICE]...")
@change_options
def command(names: tuple[str, ...], dry_run: bool, force: bool, state: Path | None) -> int:
    """Driver, driver_override and number of virtual functions become what they were before the first bind or unbind.

    Without DEVICE: of all that were changed since the machine was started. The udev rules that bind --persist made are
    removed for devices that are named.
    """
    from vfio_ims.host import Binder, Machine
    from vfio_ims.host.persist import rule_path

    machine = Machine()
    addresses = [_address(machine, name) for name in names] or None
    binder = Binder(machine, state=state)
    if dry_run:
        plan = binder.plan_restore(addresses)
        plan.check_free(force=force)
        for step in plan.steps:
            echo(str(step))
        rules = [place for address in addresses or () if (place := rule_path(machine, address)).exists()]
        for place in rules:
            echo(f"rm {place}")
        return exits.OK if plan.steps or rules else exits.NOTHING
    results = binder.restore(addresses, force=force)
    for result in results:
        echo(f"{result.address}: {result.text}", err=not result.done)
    forgotten = _forget(machine, addresses)
    if not results and not forgotten:
        echo("Nothing to restore: the journal has nothing that was changed since this boot.", err=True)
        return exits.NOTHING
    return exits.OK if all(result.done for result in results) else exits.FAILED


def _address(machine: Machine, name: str) -> str:
    from vfio_ims.host.selection import not_here
    from vfio_ims.pci import PciAddress

    function = machine.function(name)
    if function is None and not PciAddress.looks_like(name):
        raise not_here(name, "restore")
    return str(function.address if function is not None else PciAddress.parse(name))  # it may have gone meanwhile


def _forget(machine: Machine, addresses: list[str] | None) -> bool:
    from vfio_ims.host.persist import forget, persistent

    done = False
    for address in addresses or ():
        place = forget(machine, address)
        if place is not None:
            echo(f"{address}: {place} removed: it is no longer bound to VFIO at boot")
            done = True
    for address in persistent(machine):
        echo(f"{address}: a udev rule binds it at every boot; to end that: vfio-ims restore {address}", err=True)
    return done
