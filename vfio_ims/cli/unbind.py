# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims unbind``: leave functions without a driver."""

from __future__ import annotations

from pathlib import Path

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import echo
from vfio_ims.cli.selecting import change_options, chosen, function_options, machine_for

__all__ = ["command"]


@click.command()
@function_options
@change_options
def command(names: tuple[str, ...], slot: str, ids: str, dry_run: bool, force: bool, state: Path | None) -> int:
    """A function without a driver does not block its IOMMU group. To give it back to what had it: restore.

    NAME as in bind; with -n also report:FILE.
    """
    from vfio_ims.host import Binder

    with machine_for(names, "unbind", dry_run=dry_run) as (machine, known):
        binder = Binder(machine, state=state)
        plan = binder.plan_unbind(chosen(machine, known, slot, ids, "unbind"))
        if dry_run:
            plan.check_free(force=force)
            for step in plan.steps:
                echo(str(step))
        else:
            binder.carry_out(plan, force=force)
            for change in plan.changes:
                echo(f"{change.function}: was {change.now}, is bound to no driver")
        if not plan.changes:
            echo("bound to no driver already", err=True)
        return exits.OK if plan.changes else exits.NOTHING
