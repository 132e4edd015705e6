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
@click.option("--in", "where", default=".", type=click.Path(file_okay=False), help="Where the folder is made.")
def command(name: str, device_id: str | None, rdl: str | None, where: str) -> None:
    """Makes a folder called NAME: registers, driver, model, tests for mock and silicon, the conformance run, README.

    Everything works as it is, on the registers of an example device, to be replaced one by one. Nothing is overwritten.

    With --rdl, registers.py has the description's blocks as well, ready to take the example's place. Where the folder
    is there already only they are written again, so that they follow the description, and the rest stays yours.
    """
    from vfio_ims.new_family.folder import folder_of, make_family

    blocks = None
    if rdl is not None:
        from vfio_ims.new_family.systemrdl import blocks_from_rdl, put_blocks

        blocks, folder = blocks_from_rdl(rdl), folder_of(name, where)
        if (folder / "registers.py").is_file():
            put_blocks(folder / "registers.py", blocks)
            echo(f"renewed what {folder / 'registers.py'} has from {rdl}; nothing else was changed")
            return
    folder = make_family(name, device_id, where)
    if blocks is not None:
        put_blocks(folder / "registers.py", blocks)
    echo(f"made {folder}:")
    for path in sorted(folder.rglob("*.*"), key=lambda path: (len(path.parts), path)):
        echo(f"  {path.relative_to(folder)}")
    echo(f"Next: pytest {folder}    vfio-ims --driver {folder} selftest mock:{name}    less {folder}/README.md")
