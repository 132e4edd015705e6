# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims new``: the folder of a new family, which runs at once."""

from __future__ import annotations

import click

from vfio_ims.cli.output import echo

__all__ = ["command"]


@click.command()
@click.argument("name")
@click.option("--id", "device_id", metavar="VENDOR:DEVICE", help="As lspci -n prints it; else a free one.")
@click.option("--in", "where", default=".", type=click.Path(file_okay=False), help="Where the folder is made.")
def command(name: str, device_id: str | None, where: str) -> None:
    """Makes a folder called NAME: registers, driver, model, tests for mock and silicon, the conformance run, README.

    Everything works as it is, on the registers of an example device, to be replaced one by one. Nothing is overwritten.
    """
    from vfio_ims.testing.new_family import make_family

    folder = make_family(name, device_id, where)
    echo(f"made {folder}:")
    for path in sorted(folder.rglob("*.*"), key=lambda path: (len(path.parts), path)):
        echo(f"  {path.relative_to(folder)}")
    echo(f"Next: pytest {folder}    vfio-ims --driver {folder} selftest mock:{name}    less {folder}/README.md")
