# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims list``: this machine's candidates, from sysfs, without privilege."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import console, echo, json_option, print_json
from vfio_ims.cli.selecting import function_options
from vfio_ims.cli.table import fits, print_records, print_rows
from vfio_ims.pci import class_name

if TYPE_CHECKING:
    from vfio_ims.host import Candidate

__all__ = ["command"]


@click.command()
@function_options
@click.option("-a", "--all", "everything", is_flag=True, help="Every PCI function, not only likely ones.")
@click.option("-w", "--wide", is_flag=True, help="Class and name, node, NUMA node, link and kernel names too.")
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


_SHORT = ("Address", "ID", "IMS", "State", "Why")
_LONG = ("Address", "ID", "Family", "IMS", "Driver", "Group", "State", "Why")
_WIDE = (*_LONG[:-1], "Node", "NUMA", "Link", "Kernel names", "Class", "Name", "Why")


def _print(found: list[Candidate], wide: bool) -> None:
    """The columns that fit; where a terminal is too narrow for those that must be there, a record for each function."""
    out = console()
    rows = [_cells(one) for one in found]
    for titles in (_WIDE,) if wide else (_LONG, _SHORT):
        if fits(out, titles, rows):
            print_rows(out, titles, rows)
            return
    titles = _WIDE if wide else _LONG
    print_records(out, ("Address", "ID", "State"), [{title: row[title] for title in titles} for row in rows])


def _cells(one: Candidate) -> dict[str, str]:
    function = one.function
    return {
        "Address": str(function.address),
        "ID": function.id or "?",
        "Family": one.family.name if one.family else "-",
        "IMS": {True: "yes", False: "no", None: "unknown"}[one.hint.answer],
        "Driver": function.driver or "-",
        "Group": "-" if function.iommu_group is None else str(function.iommu_group.number),
        "State": str(one.state),
        "Why": one.why or "-",
        "Node": one.node or "-",
        "NUMA": "-" if function.numa_node is None else str(function.numa_node),
        "Link": str(function.link or "-"),
        "Kernel names": " ".join(function.names) or "-",
        "Class": "-" if function.class_code is None else class_name(function.class_code),
        "Name": one.title or "-",
    }
