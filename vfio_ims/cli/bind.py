# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims bind``: give functions to vfio-pci, so that programs may open them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import echo
from vfio_ims.cli.selecting import change_options, chosen, function_options, machine_for

if TYPE_CHECKING:
    from vfio_ims.host import Machine
    from vfio_ims.sysfs import Function

__all__ = ["command"]


@click.command()
@function_options
@click.option("--group", is_flag=True, help="Also the other members of its IOMMU group that kernel drivers have.")
@click.option("--to", "driver", default="vfio-pci", show_default=True, help="A VFIO driver, such as mlx5_vfio_pci.")
@click.option("--persist", is_flag=True, help="At every boot too: writes a udev rule, and shows it.")
@click.option("--owner", metavar="USER[:GROUP]", help="Give its nodes to this user, until it is unbound.")
@change_options
def command(
    names: tuple[str, ...],
    slot: str,
    ids: str,
    group: bool,
    driver: str,
    persist: bool,
    owner: str | None,
    dry_run: bool,
    force: bool,
    state: Path | None,
) -> int:
    """NAME is an address, a glob, or a kernel name such as dsa0; with -n also report:FILE.

    What was there is written down first: see restore.
    """
    from vfio_ims.host import Binder

    with machine_for(names, "bind", dry_run=dry_run) as (machine, known):
        functions = chosen(machine, known, slot, ids, "bind")
        binder = Binder(machine, state=state)
        plan = binder.plan_bind(functions, driver, siblings=group)
        if dry_run:
            plan.check_free(force=force)
            ahead = [f"sudo modprobe {plan.absent}  # it is not loaded"] if plan.absent else []
            _show(machine, functions, driver, persist, [*ahead, *(str(step) for step in plan.steps)])
            return exits.OK if plan.steps or persist else exits.NOTHING
    binder.carry_out(plan, force=force)
    for change in plan.changes:
        echo(f"{change.function}: was {change.now}, is {driver}")
    changed = {change.function.address for change in plan.changes}
    for function in functions:
        if function.address not in changed:
            echo(f"{function}: bound to {driver} already")
        _nodes(machine, function.fresh(), owner)
        if persist:
            _persist(machine, function, driver)
    if changed:
        first = functions[0]
        echo(f"Next: vfio-ims selftest {first}   or pytest --vfio-device {first}   Back: vfio-ims restore")
    return exits.OK if plan.changes or persist or owner else exits.NOTHING


def _show(machine: Machine, functions: list[Function], driver: str, persist: bool, steps: list[str]) -> None:
    from vfio_ims.host.persist import rule_for, rule_path

    for step in steps or ["# nothing to write: bound already"]:
        echo(step)
    for function in functions if persist else ():
        echo(f"# {rule_path(machine, function.address)}:\n{rule_for(function, driver)}", nl=False)


def _nodes(machine: Machine, function: Function, owner: str | None) -> None:
    from vfio_ims.host.holders import nodes_of
    from vfio_ims.host.nodes import give_nodes

    if owner is not None:
        give_nodes(machine, function, owner)
    for name in nodes_of(function):
        node = machine.node(name)
        if node is not None:
            echo(f"  {node}")


def _persist(machine: Machine, function: Function, driver: str) -> None:
    from vfio_ims.host import persist

    place = persist.persist(machine, function, driver)
    echo(f"  at every boot, by {place}:\n{place.read_text()}", nl=False)
