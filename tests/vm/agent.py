# SPDX-License-Identifier: Apache-2.0
"""The lab's hand in the guest: binds the functions, then runs the commands that the lab sends. Standard library only.

Requests and events are JSON objects, one a line, over a virtio port. What a command prints is sent as it comes, so it
is on the host already when the guest hangs. When the lab hangs up, it is done or dead, and the guest powers off.
"""

from __future__ import annotations

import codecs
import json
import os
import select
import selectors
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PORT = "vfio-ims.lab"
PCI = Path("/sys/bus/pci")


class LabGoneError(Exception):
    pass


class Wire:
    """The port to the lab. Between a request and the end of its command the lab is silent, or gone."""

    def __init__(self) -> None:
        names = Path("/sys/class/virtio-ports").glob("*/name")
        port = next(name.parent.name for name in names if name.read_text().strip() == PORT)
        # Not blocking: a blocked write to a port that is not open on the host never ends.
        self._fd = os.open(f"/dev/{port}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        deadline = time.monotonic() + 5  # the kernel learns a little late that the host is there
        while True:
            try:
                return self._wait(select.POLLOUT)
            except LabGoneError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def fileno(self) -> int:
        return self._fd

    def say(self, **event: Any) -> None:
        line = json.dumps(event).encode() + b"\n"
        while line:
            self._wait(select.POLLOUT)
            with suppress(BlockingIOError):
                line = line[os.write(self._fd, line) :]

    def listen(self) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            self._wait(select.POLLIN)
            with suppress(BlockingIOError):
                line += os.read(self._fd, 65536)
        request: dict[str, Any] = json.loads(line)
        return request

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._fd, event)
        if any(seen & select.POLLHUP for _, seen in poll.poll()):
            raise LabGoneError


def bind(address: str, driver: str) -> str:
    """Gives a function to a driver; returns what went wrong, or nothing."""
    function = PCI / "devices" / address
    if not function.is_dir():
        return f"{address}: the guest has no such PCI function"
    try:
        if (function / "driver").exists():
            (function / "driver" / "unbind").write_text(address)
        (function / "driver_override").write_text(driver)
        (PCI / "drivers_probe").write_text(address)
    except OSError as error:
        return f"{address}: {driver} did not take it: {error}"
    bound = function / "driver"
    if not bound.exists() or bound.resolve().name != driver:
        return f"{address}: {driver} did not take it; the console may say why"
    return ""


def execute(request: dict[str, Any], wire: Wire) -> None:
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            request["argv"],
            cwd=request["cwd"],
            env=request["env"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        wire.say(stderr=f"{request['argv'][0]}: {error}\n")
        wire.say(exit=127, seconds=time.monotonic() - started)
        return
    pipes = {"stdout": child.stdout, "stderr": child.stderr}
    with selectors.DefaultSelector() as selector:
        selector.register(wire, selectors.EVENT_READ)
        for name, pipe in pipes.items():
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ, (name, codecs.getincrementaldecoder("utf-8")("replace")))
        while len(selector.get_map()) > 1:
            for key, _ in selector.select():
                if key.fileobj is wire:
                    raise LabGoneError
                name, decoder = key.data
                data = os.read(key.fd, 65536)
                if text := decoder.decode(data, final=not data):
                    wire.say(**{name: text})
                if not data:
                    selector.unregister(key.fileobj)
    status = child.wait()
    for pipe in pipes.values():
        pipe.close()  # type: ignore[union-attr]
    wire.say(exit=status, seconds=time.monotonic() - started)


def main(driver: str, addresses: list[str]) -> None:
    wire = Wire()
    problems = [problem for address in addresses if driver and address and (problem := bind(address, driver))]
    wire.say(ready=problems)
    with suppress(LabGoneError):
        while True:
            execute(wire.listen(), wire)
