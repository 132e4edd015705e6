# SPDX-License-Identifier: Apache-2.0
"""A lab on this machine: labgrid's coordinator and our exporter, each a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

_START = 120.0


class Program:
    """A program, its output read by a thread: a pipe that is full would block it."""

    def __init__(self, arguments: Sequence[str], folder: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid, self.said = self._process.pid, ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said += line

    def wait_for(self, pattern: str) -> str:
        """Until its output has ``pattern``; the first group."""
        deadline = time.monotonic() + _START
        while not (found := re.search(pattern, self.said)):
            assert self._process.poll() is None, f"it ended: {self.said}"
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.said}"
            time.sleep(0.02)
        return found[(found.re.groups and 1) or 0]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Lab:
    """A coordinator and an exporter with ``resources``, and places on it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.address = folder, f"127.0.0.1:{port}"
        self.exporter: Program

    def client(self, *arguments: str, status: int = 0) -> str:
        """``labgrid-client``; what it printed."""
        done = self._run(_tool("labgrid-client"), *arguments)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def place(self, name: str, match: str) -> None:
        """A place of this name, with the resources that match."""
        self.client("-p", name, "create")
        self.client("-p", name, "add-match", match)

    def python(self, code: str) -> str:
        """Run a test's script, as a user of the lab; what it printed."""
        done = self._run(sys.executable, "-c", code)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        named = {"LG_COORDINATOR": self.address, "LG_USERNAME": "tester", "LG_HOSTNAME": "here"}
        return subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | named,
            capture_output=True,
            text=True,
            timeout=_START,
            check=False,
        )


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def start_exporter(lab: Lab, resources: Path, name: str = "ci") -> Program:
    program = [_tool("vfio-ims-labgrid-exporter"), "-c", lab.address, "--name", name, "--hostname", "localhost"]
    exporter = Program([*program, str(resources)], lab.folder)
    exporter.wait_for("Exporter ready")
    return exporter


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose exporter has a model to lend out."""
    if find_spec("labgrid") is None:
        pytest.skip("labgrid is not installed: .ci/setup dev, or pip install 'vfio-ims[labgrid]'")
    folder = tmp_path_factory.mktemp("lab")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Lab(folder, port)
    resources = folder / "exports.yaml"
    resources.write_text(
        "bench:\n  VfioModel:\n    model: minimal\n  second:\n    cls: VfioModel\n    model: minimal\n"
    )
    (folder / "env.yaml").write_text(
        "targets:\n  main:\n    resources:\n      RemotePlace:\n        name: dut\n"
        "    drivers:\n      VfioDriver: {}\nimports:\n  - vfio_ims.labs.labgrid\n"
    )
    with Program([_tool("labgrid-coordinator"), "-l", found.address], folder) as coordinator:
        coordinator.wait_for("Coordinator ready")
        with start_exporter(found, resources) as exporter:
            found.exporter = exporter
            yield found
