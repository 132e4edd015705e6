# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims check-server``: what any vfio-user server must do, asked of one that others made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import echo, print_json

if TYPE_CHECKING:
    from vfio_ims.selftest.server import Fire

__all__ = ["command"]

_FIRE = "REGION:OFFSET=VALUE[:WIDTH]"


@click.command()
@click.argument("socket")
@click.option("--fire", metavar=_FIRE, help="The write that makes the device raise its interrupt, such as 0:0x8=1:4.")
@click.option(
    "--raises", default="intx:0", show_default=True, metavar="KIND:VECTOR", help="Which one: intx, msi, msix."
)
@click.option("--timeout", default=5.0, show_default=True, help="Seconds for an answer, and for an interrupt.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(socket: str, fire: str | None, raises: str, timeout: float, as_json: bool) -> int:
    """SOCKET is a vfio-user server's, which must be idle: no other client. No driver is needed.

    Infos, accesses outside, triggers of every vector, masks, reset, DMA maps: as VFIO has them, and QEMU relies on.
    Exit status: 0 all passed or not applicable, 1 a check failed.
    """
    from vfio_ims.errors import UsageError
    from vfio_ims.selftest.report import Outcome
    from vfio_ims.selftest.server import check_server

    path = socket.removeprefix("vfio-user:")
    if path.startswith("mock:"):
        model = path.removeprefix("mock:")
        raise UsageError(
            f"check the server {socket}",
            why="it is a model in this process, and only a server's socket can be checked",
            hint=f"vfio-ims serve {model} --socket PATH, and elsewhere vfio-ims check-server PATH",
        )
    checks = check_server(path, fire=None if fire is None else _fire(fire, raises), timeout=timeout)
    failed = [check for check in checks if check.outcome in (Outcome.FAILED, Outcome.NOT_RUN)]
    if as_json:
        content = {"socket": path, "passed": not failed, "checks": [check.to_json() for check in checks]}
        print_json("check-server", content)
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            echo(f"{check.name:{width}}  {check.outcome.value:14}  {check.text}".rstrip())
        echo("FAILED: " + ", ".join(check.name for check in failed) if failed else "PASSED")
    return exits.FAILED if failed else exits.OK


def _fire(text: str, raises: str) -> Fire:
    from vfio_ims.errors import UsageError
    from vfio_ims.ports.values import IrqIndex
    from vfio_ims.selftest.server import Fire

    try:
        place, _, what = text.partition("=")
        region, _, offset = place.partition(":")
        value, _, width = what.partition(":")
        kind, _, vector = raises.partition(":")
        return Fire(
            int(region, 0),
            int(offset, 0),
            int(width or "4", 0),
            int(value, 0),
            IrqIndex[kind.upper()],
            int(vector or "0", 0),
        )
    except (ValueError, KeyError) as error:
        why = f"--fire must be {_FIRE}, and --raises KIND:VECTOR, not {text!r} and {raises!r}"
        raise UsageError("check a server", why=why, hint="--fire 0:0x8=1:4 --raises msix:0") from error
