# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims list``: this machine's candidates, from sysfs, without privilege."""

from __future__ import annotations

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import console, json_option, print_json

__all__ = ["command"]


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Every PCI function, not only likely ones.")
@json_option
def command(everything: bool, as_json: bool) -> int:
    """Reads sysfs only. IMS "unknown" means that config space could not be read that far: try as root."""
    from vfio_ims.host import candidates

    found = candidates(everything=everything)
    if as_json:
        print_json("list", {"devices": [candidate.to_json() for candidate in found]})
    elif not found:
        click.echo("No function here has IMS that could be seen. Without one: vfio-ims demo", err=True)
    else:
        from rich.table import Table

        table = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("Address", "ID", "Family", "IMS", "State", "Why"):
            table.add_column(title, no_wrap=title != "Why")
        for one in found:
            ims = {True: "yes", False: "no", None: "unknown"}[one.hint.answer]
            family = one.family.name if one.family else "-"
            table.add_row(str(one.function.address), one.function.id or "?", family, ims, str(one.state), one.why)
        console().print(table)
    return exits.OK if found else exits.NOTHING
