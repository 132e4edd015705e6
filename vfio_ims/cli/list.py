# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims list``: this machine's candidates, from sysfs, without privilege."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import console, echo, json_option, print_json
from vfio_ims.cli.selecting import function_options
from vfio_ims.printable import printable

if TYPE_CHECKING:
    from vfio_ims.host import Candidate

__all__ = ["command"]


@click.command()
@function_options
@click.option("-a", "--all", "everything", is_flag=True, help="Every PCI function, not only likely ones.")
@click.option("-w", "--wide", is_flag=True, help="Name, node, NUMA node, link and kernel names too.")
@json_option
def command(names: tuple[str, ...], slot: str, ids: str, everything: bool, wide: bool, as_json: bool) -> int:
    """NAME is an address, a glob such as '6a:*', or a kernel name such as dsa0; report:FILE looks into a report.

    Reads sysfs only and disturbs nothing. IMS is "unknown" where config space could not be read so far: as root it can.
    """
    from vfio_ims.cli.place import place
    from vfio_ims.host import Selection, candidates, unseen

    reports = [name for name in names if name.startswith("report:")]
    if len(reports) > 1:
        raise click.UsageError("one report at a time")
    with place(reports[0] if reports else None) as (machine, _):
        selection = Selection.parse(machine, [name for name in names if name not in reports], slot, ids)
        found = candidates(machine, selection, everything=everything or bool(reports))
        hidden = unseen(found, machine)
        return _report(found, hidden, wide, as_json, asked=not selection.open)


def _report(found: list[Candidate], hidden: list[str], wide: bool, as_json: bool, *, asked: bool) -> int:
    if as_json:
        print_json("list", {"devices": [candidate.to_json() for candidate in found], "not_seen": hidden})
        return exits.OK if found else exits.NOTHING
    if not found:
        what = "No function matches" if asked else "No function here has IMS that could be seen"
        echo(f"{what}. Every function: vfio-ims list --all. Without hardware: vfio-ims demo", err=True)
        return exits.NOTHING
    _print(found, wide)
    for sentence in hidden:
        echo(f"Not seen: {sentence}", err=True)
    return exits.OK


def _print(found: list[Candidate], wide: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    narrow = out.is_terminal and out.width < 100
    titles = ["Address", "ID", "IMS", "State", "Why"] if narrow else list(_COLUMNS[:8])
    titles += _COLUMNS[8:] if wide else ()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        # What identifies a function is never cut, however narrow the terminal is; the reasons wrap.
        table.add_column(title, no_wrap=title not in ("Why", "Name", "State"), overflow="fold")
    for one in found:
        cells = _cells(one)
        table.add_row(*(Text(printable(cells[title])) for title in titles))
    out.print(table)


_COLUMNS = (
    *("Address", "ID", "Family", "IMS", "Driver", "Group", "State", "Why"),
    *("Name", "Node", "NUMA", "Link", "Kernel names"),
)


def _cells(one: Candidate) -> dict[str, str]:
    function = one.function
    values = (
        str(function.address),
        function.id or "?",
        one.family.name if one.family else "-",
        {True: "yes", False: "no", None: "unknown"}[one.hint.answer],
        function.driver or "-",
        "-" if function.iommu_group is None else str(function.iommu_group.number),
        str(one.state),
        one.why,
        one.title or "-",
        one.node or "-",
        "-" if function.numa_node is None else str(function.numa_node),
        str(function.link or "-"),
        " ".join(function.names) or "-",
    )
    return dict(zip(_COLUMNS, values, strict=True))
