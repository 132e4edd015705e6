# SPDX-License-Identifier: Apache-2.0
"""A guest with a real kernel's VFIO and PCI functions of your choice, over this machine's own root file system.

    with Guest(INTEL, ["/run/model.sock"]) as guest:
        result = guest.run([sys.executable, "-m", "pytest", "tests/conformance"])
        assert result.returncode == 0, result

The guest sees the host's files, Python and repository, read-only; `guest.rwdir` is writable on both sides.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from . import qemu, virt
from .pieces import HERE, LabError
from .platforms import ARM64, INTEL, Function, Platform

__all__ = ["HUNG_BOOTS", "REPO", "Guest", "GuestDied", "GuestTimeout", "LabError", "Result"]

REPO = HERE.parent.parent
BOOT_TIMEOUT = 60.0
BOOTS = 2
"""A boot takes 3 s, and in one of hundreds QEMU's emulated machine hangs before its first process runs."""
HUNG_BOOTS: list[str] = []
"""What is known of each boot that hung and was repeated: the run's last lines report them (tests/conftest.py)."""
POWER_OFF_TIMEOUT = 15.0

Output = dict[str, list[str]]


class GuestDied(LabError):
    """QEMU or the guest ended by itself."""


class GuestTimeout(LabError):
    """The guest did not answer in time. It has been ended by the time this is raised."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command in the guest did. `console` is the guest's kernel log, from warnings up, since the boot."""

    returncode: int
    stdout: str
    stderr: str
    console: str
    seconds: float

    def __str__(self) -> str:
        head = f"exit status {self.returncode} after {self.seconds:.1f} s"
        return _report(head, {"stdout": self.stdout, "stderr": self.stderr, "console": self.console})


class Guest:
    """A booted guest. It may live for `timeout` seconds at most; each command has a time limit of its own.

    Without `share_memory` a vfio-user server gets no files of the guest's memory, and reads and writes it by message.
    """

    def __init__(
        self,
        platform: Platform = INTEL,
        functions: Sequence[Function] = (),
        *,
        driver: str | None = "vfio-pci",
        rwdir: str | os.PathLike[str] | None = None,
        timeout: float = 3600.0,
        cpus: int = 2,
        memory: int = 1024,
        share_memory: bool = True,
        nice: int = 0,
        udev: bool = False,
        kernel_options: Sequence[str] = (),
        qemu_options: Sequence[str] = (),
        echo: tuple[TextIO, TextIO] | None = None,
    ) -> None:
        started = time.monotonic()
        self.platform = platform
        placed, self.addresses = platform.place(functions)
        self._booted = 0
        self._echo = dict(zip(("stdout", "stderr"), echo, strict=True)) if echo else {}
        with ExitStack() as undo:
            scratch = undo.enter_context(tempfile.TemporaryDirectory(prefix="vfio-ims-vm-"))
            self.rwdir = Path(rwdir or Path(scratch, "rw")).resolve()
            self.rwdir.mkdir(parents=True, exist_ok=True)
            self._console = Path(scratch, "console")
            self._complaints = Path(scratch, "qemu")
            shape = qemu.Shape(
                cpus=cpus,
                memory=memory,
                share_memory=share_memory,
                rwdir=self.rwdir,
                console=self._console,
                environment={
                    "LAB_RWDIR": str(self.rwdir),
                    "LAB_DRIVER": driver or "",
                    "LAB_FUNCTIONS": ",".join(self.addresses),
                    "LAB_UDEVD": _udevd() if udev else "",
                },
                kernel_options=kernel_options,
                qemu_options=[*placed, *qemu_options],
            )
            # timeout(1) outlives us, should we be killed before we can end what we started.
            limits = ["nice", "-n", str(nice), "timeout", "--signal=KILL", str(timeout)]
            emulated = virt.command if platform.architecture == ARM64 else qemu.command
            command = [*limits, *emulated(platform, shape)]
            problems = self._boot(command, undo)
            self._finalizer = weakref.finalize(self, undo.pop_all().close)
        if problems:
            raise self._failed(LabError, "; ".join(problems), {})
        self._booted = self._console.stat().st_size
        self.boot_seconds = time.monotonic() - started

    def _boot(self, command: Sequence[str], undo: ExitStack) -> list[str]:
        """Starts QEMU and waits for the agent; what the agent could not do for the functions."""
        for left in reversed(range(BOOTS)):
            self._finalizer = self._start(command)
            try:
                problems: list[str] = self._next(time.monotonic() + BOOT_TIMEOUT, "the boot", {})["ready"]
            except GuestTimeout as hung:
                if not left:
                    raise
                HUNG_BOOTS.append(str(hung))
                continue
            undo.callback(self._finalizer)
            return problems
        raise AssertionError("the last boot returns or raises")

    def _start(self, command: Sequence[str]) -> weakref.finalize[..., Guest]:
        """Starts QEMU, with a wire to the guest's agent; what ends both."""
        # A socket, not pipes: QEMU tells the guest of its closing even when the guest is not listening yet.
        self._wire, theirs = socket.socketpair()
        with ExitStack() as undo, theirs, self._complaints.open("wb") as complaints:
            undo.callback(self._wire.close)
            self._process = subprocess.Popen(
                [*command, *qemu.wire(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            undo.callback(_kill, self._process)
            end = weakref.finalize(self, undo.pop_all().close)
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(self._wire, self._events), daemon=True).start()
        return end

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = REPO,
        timeout: float = 120.0,
        idle: float | None = None,
    ) -> Result:
        """Runs a command and waits for it. The guest stays up for the next one, unless this one ran out of time.

        It has ``timeout`` seconds in all, and no more than ``idle`` seconds from one output to the next.
        """
        deadline = time.monotonic() + timeout
        words = [os.fspath(word) for word in argv]
        self._send({"argv": words, "cwd": os.fspath(cwd), "env": self._environment() | dict(env or {})})
        output: Output = {"stdout": [], "stderr": []}
        while "exit" not in (event := self._next(_earlier(deadline, idle), shlex.join(words), output)):
            for name, text in event.items():
                output[name].append(text)
                if name in self._echo:
                    print(text, end="", flush=True, file=self._echo[name])
        # A signal is reported as a shell does it: 128 and its number.
        status = event["exit"] if event["exit"] >= 0 else 128 - event["exit"]
        stdout, stderr = ("".join(output[name]) for name in ("stdout", "stderr"))
        return Result(status, stdout, stderr, self.console, event["seconds"])

    @property
    def console(self) -> str:
        """What QEMU, and the guest's kernel since the boot, have said so far; all of it while the boot lasts."""
        with suppress(FileNotFoundError), self._console.open("rb") as log:
            log.seek(self._booted)
            return self._complaints.read_text(errors="replace") + log.read().decode(errors="replace")
        return ""

    def close(self) -> None:
        """Powers the guest off."""
        with suppress(OSError, subprocess.TimeoutExpired):
            self._wire.shutdown(socket.SHUT_RDWR)
            self._process.wait(POWER_OFF_TIMEOUT)
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _environment(self) -> dict[str, str]:
        passed = {name: os.environ[name] for name in ("PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
        return passed | {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",  # there is nowhere to write it to
            "VFIO_IMS_VM": "1",
            "VFIO_IMS_VM_PLATFORM": self.platform.name,
            "VFIO_IMS_VM_FUNCTIONS": " ".join(self.addresses),
            "VFIO_IMS_VM_RWDIR": str(self.rwdir),
            **(virt.ENVIRONMENT if self.platform.architecture == ARM64 else {}),
        }

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self._wire.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            raise self._failed(GuestDied, "the guest is gone", {}) from None

    def _next(self, deadline: float, what: str, output: Output) -> dict[str, Any]:
        try:
            event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise self._failed(GuestTimeout, f"no end in time of {what}", output) from None
        if event is None:
            raise self._failed(GuestDied, f"the guest ended in the middle of {what}", output)
        return event

    def _failed(self, kind: type[LabError], text: str, output: Output) -> LabError:
        """Ends the guest, and makes an error of all that is known about it."""
        parts = {name: "".join(chunks) for name, chunks in output.items()} | {"console": self.console}
        self._finalizer()
        return kind(_report(f"{text} (platform {self.platform.name})", parts))


def _earlier(deadline: float, idle: float | None) -> float:
    return deadline if idle is None else min(deadline, time.monotonic() + idle)


def _udevd() -> str:
    for path in ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd"):
        if os.path.exists(path):
            return path
    raise LabError("this machine has no udevd to start in the guest: install udev")


def _report(head: str, parts: Mapping[str, str]) -> str:
    return "\n".join([head, *(f"--- {name}\n{text[-8000:].rstrip()}" for name, text in parts.items() if text.strip())])


def _listen(wire: socket.socket, events: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    with suppress(OSError, ValueError), wire.makefile("rb") as lines:  # a guest that is ended may leave half a line
        for line in lines:
            events.put(json.loads(line))
    events.put(None)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
