# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims serve``: a device model, or a function that is opened here, for any vfio-user client, QEMU too."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from vfio_ims.cli.output import echo

if TYPE_CHECKING:
    from vfio_ims.families import Family
    from vfio_ims.faults import Faults
    from vfio_ims.models import DeviceModel
    from vfio_ims.vfio_user.server import Server

__all__ = ["command"]


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from vfio_ims.cli.completing import complete_device, complete_model

    found = (complete_model(context, parameter, incomplete), complete_device(context, parameter, incomplete))
    return [item for items in found for item in items]


@click.command()
@click.argument("device", shell_complete=_complete)
@click.option("--socket", "path", required=True, type=click.Path(dir_okay=False), help="Where to listen.")
@click.option("--map-slots", is_flag=True, help="Of a model: its slot table is shared memory that a client maps.")
@click.option("--trap", is_flag=True, help="Of a function: clients map no registers, every access comes through here.")
def command(device: str, path: str, map_slots: bool, trap: bool) -> None:
    """Serve DEVICE: a model, such as intel-dsa, or a function, such as 0000:6a:01.0. Ends at Ctrl-C or SIGTERM.

    A model by its name, options after commas, is hardware: the client's side plays the host. Any other name (an
    address, mock:MODEL, replay:FILE, vfio-user:SOCKET) is opened here, and exported as VFIO shows it: the client's
    interrupts, memory and accesses are passed on to it. With --trace no access is mapped, so that all are recorded.

    One client at a time: it has the device until it disconnects, however idle, and others wait.
    """
    if ":" in device.partition(",")[0] or _is_address(device):
        _export(device, path, trap=trap)
    else:
        _serve_model(device, path, map_slots=map_slots)


def _is_address(text: str) -> bool:
    from vfio_ims.pci.address import PciAddress

    return PciAddress.looks_like(text.partition(",")[0])


def _serve_model(model: str, path: str, *, map_slots: bool) -> None:
    from vfio_ims.families import family_of_model
    from vfio_ims.vfio_user.server import Server

    name, *options = model.split(",")
    given = {key: value or "yes" for key, _, value in (option.partition("=") for option in options)}
    if map_slots:
        given["map_slots"] = "yes"
    faults = given.pop("fault", "")
    family = family_of_model(name)
    made = family.load_model(name)(model, **given)
    injected = _inject(made, family, faults) if faults else None
    server = Server(made, path)
    try:
        _run(server, f"serving {model} on {path}; open it as vfio-user:{path}")
    finally:
        server.close()
        made.close()
        if injected is not None:
            echo(str(injected), err=True)


def _inject(model: DeviceModel, family: Family, text: str) -> Faults:
    """The faults that the name asks for, in the model itself: every client meets them."""
    from vfio_ims.families import blocks_of
    from vfio_ims.faults import parse_faults
    from vfio_ims.faults.models import inject_model

    return inject_model(model, parse_faults(text), blocks_of(family))


def _export(device: str, path: str, *, trap: bool) -> None:
    from vfio_ims.names import open_device
    from vfio_ims.tracing.opening import OPENED
    from vfio_ims.vfio_user.exported import ExportedFunction
    from vfio_ims.vfio_user.server import Server

    with open_device(device) as opened:
        trap = trap or bool(OPENED)
        exported = ExportedFunction(opened.port, trap=trap)
        try:
            server = Server(exported, path)
            try:
                exported.lost = lambda reason: server.stop()
                how = "every access passes here" if trap else "clients map its registers where they can"
                _run(server, f"exporting {device} on {path}, {how}; open it as vfio-user:{path}")
            finally:
                server.close()
            if exported.loss is not None:
                raise exported.loss
        finally:
            exported.close()


def _run(server: Server, text: str) -> None:
    """Serve until Ctrl-C, SIGTERM or the end of the device."""
    echo(text, err=True)
    sys.stderr.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        echo("stopped", err=True)
