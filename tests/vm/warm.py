# SPDX-License-Identifier: Apache-2.0
"""A warm interpreter in the guest: it has imported the package, and forks for each command.

Emulated, an import of everything takes longer than most tests. What runs here runs in a process of its own all the
same, with the arguments, output and exit status that it would have. A command out of time says where it hangs, and the
guest lives on.

    warm.py serve          in the background, once a guest
    warm.py run COMMANDS   a list of them as JSON; prints what became of each, as JSON, and before that an empty line
                           now and then for as long as one of them prints something
"""

from __future__ import annotations

import faulthandler
import json
import os
import runpy
import select
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

PLACE = "/run/vfio-ims.warm"
LOOK = 10.0
"""Seconds between two looks at what the running commands have printed."""


def preload() -> None:
    """What the commands need, and what an error needs: a child of another user may not be able to read the files."""
    from importlib import import_module

    from vfio_ims.driver import open_driver
    from vfio_ims.families import all_families

    for name in ("cli.main", "cli.selftest", "selftest", "backends.kernel"):
        import_module(f"vfio_ims.{name}")
    for family in all_families():
        for one in family.ids:
            family.load_driver(one)
    with suppress(OSError):
        open_driver("0000:ff:1f.7")


def become(command: dict[str, Any], stem: Path) -> None:
    """In the forked child: run the command, and end with its status."""
    status = 1
    try:
        for number, place in enumerate(("/dev/null", f"{stem}.out", f"{stem}.err")):
            os.dup2(os.open(place, os.O_CREAT | os.O_RDWR | os.O_TRUNC), number)
        os.closerange(3, 256)
        faulthandler.dump_traceback_later(command["timeout"], exit=True)
        os.environ.update(command["env"])
        if command["user"]:
            os.setgroups([])
            os.setresgid(command["user"], command["user"], command["user"])
            os.setresuid(command["user"], command["user"], command["user"])
        program, *arguments = command["argv"]
        sys.argv = [program, *arguments]
        if program == "vfio-ims":
            from vfio_ims.cli.main import main

            main(arguments)
        else:
            runpy.run_path(program, run_name="__main__")
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as an interpreter of its own would print it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run_all(
    commands: Sequence[dict[str, Any]], jobs: int, folder: Path, progress: Callable[[], object]
) -> list[dict[str, Any]]:
    """Run the commands, ``jobs`` at a time; ``progress`` is called now and then while one prints something."""
    left = list(enumerate(commands))
    running: dict[int, tuple[int, float]] = {}
    results: list[dict[str, Any]] = [{} for _ in commands]
    while left or running:
        while left and len(running) < jobs:
            number, command = left.pop(0)
            child = os.fork()
            if child == 0:
                become(command, folder / str(number))
            running[child] = number, time.monotonic()
        await_end(list(running), [folder / f"{number}.out" for number, _ in running.values()], progress)
        child, status = os.wait()
        if child in running:
            number, started = running.pop(child)
            code = os.waitstatus_to_exitcode(status)
            results[number] = {"status": code if code >= 0 else 128 - code, "seconds": time.monotonic() - started}
    return results


def await_end(children: Sequence[int], files: Sequence[Path], progress: Callable[[], object]) -> None:
    """Return when one of the ``children`` has ended; until then call ``progress`` when their ``files`` have grown."""
    with ExitStack() as undo:
        poll = select.poll()
        for child in children:
            descriptor = os.pidfd_open(child)
            undo.callback(os.close, descriptor)
            poll.register(descriptor, select.POLLIN)
        printed = 0
        while not poll.poll(1000 * LOOK):
            before, printed = printed, sum(file.stat().st_size for file in files if file.exists())
            if printed != before:
                progress()


def serve() -> None:
    folder = Path(os.environ["VFIO_IMS_VM_RWDIR"])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(PLACE)
        listener.listen()
        if os.fork():
            return  # the caller goes on; who connects before all is imported waits
        os.setsid()
        log = os.open(folder / "warm.log", os.O_CREAT | os.O_WRONLY)
        for number in (0, 1, 2):
            os.dup2(log, number)
        preload()
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as stream:
                request = json.loads(stream.readline())
                results = run_all(request["commands"], request["jobs"], folder, partial(print, file=stream, flush=True))
                stream.write(json.dumps(results))


def main() -> None:
    if sys.argv[1] == "serve":
        serve()
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(PLACE)
        connection.sendall(sys.argv[2].encode() + b"\n")
        while data := connection.recv(65536):
            print(data.decode(), end="", flush=True)


if __name__ == "__main__":
    main()
