# SPDX-License-Identifier: Apache-2.0
"""A guest whose functions are models, each served by a process of its own, and a warm interpreter in it.

with bench(INTEL, minimal="minimal", dsa="intel-dsa") as lab:
    done = lab.run(["vfio-ims", "selftest", lab["dsa"], "--json"])
    assert done.status == 0, done
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from tests.vm.lab import REPO, Guest, LabError
from tests.vm.pieces import HERE
from tests.vm.platforms import Platform
from vfio_ims.testing.server import ServedModel

__all__ = ["NOBODY", "SCENARIOS", "Done", "Lab", "bench"]

SCENARIOS = HERE / "scenarios"
NOBODY = 65534
_EXPECTED = re.compile(r"vfio-pci .*: reset(ting| done)$")  # each open says so
_WARM = [sys.executable, "-S", "-E", str(HERE / "warm.py")]


@dataclass(frozen=True)
class Done:
    """What became of a command in the guest."""

    argv: tuple[str, ...]
    status: int
    seconds: float
    stdout: str
    stderr: str
    console: str

    @property
    def json(self) -> dict[str, Any]:
        """What it printed, as one JSON document."""
        if not self.stdout:
            raise AssertionError(str(self))
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    def check(self, status: int = 0) -> Self:
        """AssertionError with all that is known where it did not end with ``status``."""
        if self.status != status:
            raise AssertionError(str(self))
        return self

    def __str__(self) -> str:
        head = f"{' '.join(self.argv)}: exit status {self.status} after {self.seconds:.1f} s"
        parts = {"stdout": self.stdout, "stderr": self.stderr, "console": self.console}
        return "\n".join([head, *(f"--- {name}\n{text[-6000:].rstrip()}" for name, text in parts.items() if text)])


class Lab:
    """A booted guest. ``lab[name]`` is the address of the function that the model ``name`` is."""

    def __init__(self, guest: Guest, names: Sequence[str]) -> None:
        self.guest = guest
        self._addresses = dict(zip(names, guest.addresses, strict=False))
        started = guest.run([sys.executable, str(HERE / "warm.py"), "serve"])
        if started.returncode:
            raise LabError(f"the warm interpreter did not start: {started}")

    def __getitem__(self, name: str) -> str:
        return self._addresses[name]

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60.0,
        idle: float | None = None,
        user: int = 0,
        env: dict[str, str] | None = None,
    ) -> Done:
        """Run ``vfio-ims ...`` or a Python script, as ``user``, in a process of its own."""
        return self.run_all([argv], jobs=1, timeout=timeout, idle=idle, user=user, env=env)[0]

    def scenario(self, name: str, *arguments: str, timeout: float = 60.0) -> dict[str, Any]:
        """Run a script of ``scenarios/``; what it found out. One that fails, fails the test."""
        return self.run([str(SCENARIOS / f"{name}.py"), *arguments], timeout=timeout).check().json

    def run_all(
        self,
        commands: Sequence[Sequence[str]],
        *,
        jobs: int = 2,
        timeout: float = 60.0,
        idle: float | None = None,
        user: int = 0,
        env: dict[str, str] | None = None,
    ) -> list[Done]:
        """Several, ``jobs`` at once; each has ``timeout`` seconds, all end after ``idle`` in which none prints."""
        wanted = [{"argv": list(argv), "timeout": timeout, "user": user, "env": env or {}} for argv in commands]
        request = json.dumps({"commands": wanted, "jobs": jobs})
        limit = timeout * -(-len(wanted) // jobs) + 60  # the first command waits for the imports
        ran = self.guest.run([*_WARM, "run", request], timeout=limit, idle=idle)
        if ran.returncode or not ran.stdout:
            raise LabError(f"the warm interpreter is gone: {ran}\n{self._said('warm', 'log')}")
        console = "\n".join(line for line in ran.console.splitlines() if not _EXPECTED.search(line))
        return [
            Done(
                tuple(argv),
                result["status"],
                result["seconds"],
                self._said(str(number), "out"),
                self._said(str(number), "err"),
                console,
            )
            for number, (argv, result) in enumerate(zip(commands, json.loads(ran.stdout), strict=True))
        ]

    def _said(self, stem: str, suffix: str) -> str:
        with suppress(FileNotFoundError):
            return (self.guest.rwdir / f"{stem}.{suffix}").read_text(errors="replace")
        return ""


@cache
def _compile_all() -> None:
    """The guest cannot keep what it compiles; what is compiled here it finds."""
    compiled = ("vfio_ims", "drivers", "tests/vm", "tests/behaviour")
    subprocess.run([sys.executable, "-m", "compileall", "-q", *compiled], cwd=REPO, check=True)


@contextmanager
def bench(
    platform: Platform, /, *, kernel_options: Sequence[str] = (), lifetime: float = 3600.0, **models: str
) -> Iterator[Lab]:
    """Boot ``platform`` with ``models`` (names with options, as for ``vfio-ims serve``) as its functions.

    It lives for ``lifetime`` seconds at most.
    """
    with ExitStack() as stack:
        _compile_all()
        sockets = []
        for name, model in models.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"vfio-ims-{name}-")))
            server = ServedModel(model, folder)
            stack.callback(server.close)
            sockets.append(server.path)
        # Not a name with "vfio" in it: tests look for descriptors of such, and our output would be among them.
        rwdir = stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-"))
        options = {"rwdir": rwdir, "kernel_options": kernel_options, "timeout": lifetime}
        guest = stack.enter_context(Guest(platform, sockets, **options))
        yield Lab(guest, list(models))
