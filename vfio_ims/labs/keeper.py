# SPDX-License-Identifier: Apache-2.0
"""A process that keeps something for a lab for as long as its parent lives, however that ends.

``python -m vfio_ims.labs.keeper function 0000:6a:01.0 [USER[:GROUP]]`` gives the function to vfio-pci;
``... model intel-dsa SOCKET`` serves a model. Each prints one line of JSON when it is ready, or what stands in the way,
and waits for the end of its standard input; then the function goes back to the driver that had it, the server ends.
An exporter that is killed in the middle leaves nothing bound.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceBusy, UsageError, VfioImsError

if TYPE_CHECKING:
    from vfio_ims.host import Binder

__all__ = ["keep_function", "keep_model", "main"]

_PATIENCE = 30.0  # seconds for which a process that still has the function may take to close it
_PAUSE = 0.2


def keep_function(binder: Binder, name: str, owner: str | None = None) -> None:
    """Bind ``name`` until standard input ends, then restore it. ``owner``: whose its nodes are, USER[:GROUP].

    Raises what binding raises; SetupError where it cannot be restored: the journal keeps its entry.
    """
    from vfio_ims.host.holders import nodes_of
    from vfio_ims.host.nodes import give_nodes
    from vfio_ims.host.selection import not_here

    function = binder.machine.function(name)
    if function is None:
        raise not_here(name, "bind")
    address = str(function.address)
    binder.carry_out(binder.plan_bind([function]))
    try:
        if owner is not None:
            give_nodes(binder.machine, function.fresh(), owner)
        _ready({"address": address, "nodes": list(nodes_of(function.fresh()))})
    finally:
        _give_back(binder, address)


def _give_back(binder: Binder, address: str) -> None:
    """Unbinding resets the function, and asks a process that has it open to let go (REQ)."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            restored = binder.restore([address], force=time.monotonic() > deadline)
            break
        except DeviceBusy:
            time.sleep(_PAUSE)
    for one in restored:
        if not one.done:
            raise UsageError("restore", device=address, why=one.text, hint="vfio-ims restore")


def keep_model(model: str, socket: str) -> None:
    """Serve ``model`` (options after commas) on ``socket`` until standard input ends."""
    from vfio_ims.families import family_of_model
    from vfio_ims.vfio_user import Server

    name, *options = model.split(",")
    given = {key: value or "yes" for key, _, value in (option.partition("=") for option in options)}
    made = family_of_model(name).load_model(name)(model, **given)
    try:
        with Server(made, socket):
            _ready({"socket": socket})
    finally:
        made.close()


def _ready(what: dict[str, object]) -> None:
    """Say so, and wait for the end of standard input."""
    print(json.dumps(what), flush=True)
    sys.stdin.buffer.read()


def main(arguments: Sequence[str]) -> int:
    """The process. Its parent's end counts, not a signal: Ctrl-C in a terminal reaches both."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        match list(arguments):
            case ["function", name, *owner]:
                from vfio_ims.host import Binder

                keep_function(Binder(), name, owner[0] if owner else None)
            case ["model", name, socket]:
                keep_model(name, str(Path(socket)))
            case _:
                raise UsageError("keep", why="wanted are function NAME [USER[:GROUP]], or model NAME SOCKET")
    except VfioImsError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
