# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims new``: the folder of a new family, which runs at once."""

from __future__ import annotations

import click

from vfio_ims.cli.output import echo

__all__ = ["command"]


@click.command()
@click.argument("name")
@click.option("--id", "device_id", metavar="VENDOR:DEVICE", help="As lspci -n prints it; else a free one.")
@click.option(
    "--rdl",
    type=click.Path(dir_okay=False),
    help="SystemRDL: its registers go into registers.py; later runs renew them.",
)
@click.option(
    "--ipxact",
    type=click.Path(dir_okay=False),
    help="IP-XACT (IEEE 1685): the same with the registers of its memory maps.",
)
@click.option("--in", "where", default=".", type=click.Path(file_okay=False), help="Where the folder is made.")
def command(name: str, device_id: str | None, rdl: str | None, ipxact: str | None, where: str) -> None:
    """Makes a folder called NAME: registers, driver, model, tests for mock and silicon, the conformance run, README.

    Everything works as it is, on the registers of an example device, to be replaced one by one. Nothing is overwritten.

    With --rdl or --ipxact, registers.py has the description's blocks as well, ready to take the example's place. Where
    the folder is there already only they are written again, so that they follow the description, and the rest stays
    yours.
    """
    from vfio_ims.new_family.folder import folder_of, make_family
    from vfio_ims.new_family.marked import put_blocks

    described: list[tuple[str, str, str]] = []  # the blocks, and where they are from
    if rdl is not None:
        from vfio_ims.new_family.systemrdl import blocks_from_rdl

        described.append((blocks_from_rdl(rdl), "SystemRDL", "--rdl"))
    if ipxact is not None:
        from vfio_ims.new_family.ipxact import blocks_from_ipxact

        described.append((blocks_from_ipxact(ipxact), "IP-XACT", "--ipxact"))
    file = folder_of(name, where) / "registers.py"
    renewed = bool(described) and file.is_file()
    folder = file.parent if renewed else make_family(name, device_id, where)
    for blocks, source, option in described:
        put_blocks(file, blocks, source, option)
    if renewed:
        given = " and ".join(one for one in (rdl, ipxact) if one is not None)
        echo(f"renewed what {file} has from {given}; nothing else was changed")
        return
    echo(f"made {folder}:")
    for path in sorted(folder.rglob("*.*"), key=lambda path: (len(path.parts), path)):
        echo(f"  {path.relative_to(folder)}")
    echo(f"Next: pytest {folder}    vfio-ims --driver {folder} selftest mock:{name}    less {folder}/README.md")
