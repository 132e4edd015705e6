# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims show``: one device, from sysfs unless it has to be, or is asked to be, opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vfio_ims.cli.output import console, device_options, hang, json_option, print_json, with_interface
from vfio_ims.cli.place import place
from vfio_ims.errors import SetupError, UsageError

if TYPE_CHECKING:
    from vfio_ims.host import Description, Machine
    from vfio_ims.sysfs import Function

__all__ = ["command"]


@click.command()
@device_options
@click.option("--live", is_flag=True, help="Open the device: it is reset, and its driver here is started.")
@click.option("--fields", is_flag=True, help="Every field of every capability.")
@json_option
def command(device: str, iommu: str | None, live: bool, fields: bool, as_json: bool) -> None:
    """A kernel name such as dsa0 stands for its function. Models and sockets are always opened."""
    if device.startswith("report:"):
        if live:
            raise UsageError("show", device=device, why="a report can be looked at, not opened")
        with place(device) as (machine, function):
            assert function is not None
            described = _on_paper(function, machine)
    else:
        described = _describe(device, iommu, live)
    if as_json:
        print_json("show", described.to_json())
    else:
        _print(described, fields)


def _describe(device: str, iommu: str | None, live: bool) -> Description:
    from vfio_ims.host import Machine
    from vfio_ims.host.selection import is_software, not_here
    from vfio_ims.names import Name

    known = Machine().function(device.partition(",")[0])
    if known is None and not is_software(device):
        raise not_here(device, "show it", software=True)
    if known is not None and not live:
        return _on_paper(known, Machine())
    name = Name.parse(with_interface(device, iommu) if known is None else str(known.address))
    return _describe_open(str(name) if known is None else with_interface(str(name), iommu))


def _on_paper(function: Function, machine: Machine) -> Description:
    from vfio_ims.host import describe

    described = describe(function, machine)
    if described is None:
        raise SetupError("show", device=str(function), why="its config space cannot be read in sysfs")
    return described


def _describe_open(name: str) -> Description:
    import vfio_ims
    from vfio_ims.families import family_for
    from vfio_ims.host import describe_live

    with vfio_ims.open(name) as device:
        header = device.config.header
        try:
            family = family_for(header.vendor, header.device, name)
        except SetupError:
            device.config.memory = True
            return describe_live(device, None)
        with family.load_driver(f"{header.vendor:04x}:{header.device:04x}").start_on(device) as driver:
            return describe_live(device, driver)


def _print(described: Description, fields: bool) -> None:
    from rich.text import Text

    out = console()

    def section(title: str) -> None:
        out.print(f"[bold]{title}[/]")

    def line(text: str, indent: int = 2) -> None:
        hang(out, Text(" " * indent), Text(text))

    out.print(described.name, style="bold", markup=False)
    for name, text in described.facts:
        line(f"{name}: {text}")
    section("BARs")
    for bar in described.bars:
        line(str(bar))
    section("Interrupts")
    for name, text in described.interrupts:
        line(f"{name}: {text}")
    section(f"Capabilities ({described.capabilities.source})")
    for capability in described.capabilities:
        line(f"[{capability.offset:03x}] {capability.title}" if fields else str(capability))
        if fields:
            for item in capability.fields():
                line(f"{item.name}: {item.text}{f'  ({item.note})' if item.note else ''}", 8)
    for diagnosis in described.capabilities.diagnoses:
        line(f"damaged: {diagnosis}")
    section("IMS")
    for link in described.verdict.links:
        line(str(link))
    if described.verdict.usable is None:
        line("verdict: not asked yet, vfio-ims show --live opens the device and its driver answers the rest")
    else:
        line(f"verdict: {described.verdict}")
