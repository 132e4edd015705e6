# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims serve``: a device model for QEMU, for our own client, for any other."""

from __future__ import annotations

import click

from vfio_ims.cli.output import echo

__all__ = ["command"]


@click.command()
@click.argument("model")
@click.option("--socket", "path", required=True, type=click.Path(dir_okay=False), help="Where to listen.")
@click.option("--map-slots", is_flag=True, help="Offer the slot table as shared memory that a client maps.")
def command(model: str, path: str, map_slots: bool) -> None:
    """MODEL is a name as in mock:MODEL, options after commas too. Ends at Ctrl-C or SIGTERM.

    One client at a time: it has the device until it disconnects, however idle, and others wait.
    """
    import sys

    from vfio_ims.families import family_of_model
    from vfio_ims.vfio_user.server import Server

    name, *options = model.removeprefix("mock:").split(",")
    given = {key: value or "yes" for key, _, value in (option.partition("=") for option in options)}
    if map_slots:
        given["map_slots"] = "yes"
    made = family_of_model(name).load_model(name)(model, **given)
    server = Server(made, path)
    try:
        echo(f"serving {model} on {path}; open it as vfio-user:{path}", err=True)
        sys.stderr.flush()
        server.serve_forever()
    except KeyboardInterrupt:
        echo("stopped", err=True)
    finally:
        server.close()
        made.close()
