# SPDX-License-Identifier: Apache-2.0
"""A model in a process of its own, behind a vfio-user socket, for the length of a test run."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vfio_ims.errors import SetupError

__all__ = ["ServedModel"]

_PATIENCE = 60.0  # an emulated machine starts Python slowly
_STOP = 5.0


class ServedModel:
    """``vfio-ims serve MODEL`` in a child process; returns when it listens. ``folders``: private driver folders."""

    def __init__(self, model: str, directory: Path, folders: Sequence[str] = ()) -> None:
        self.model = model
        self.path = directory / "socket"
        self._log = directory / "log"
        arguments = [part for folder in folders for part in ("--driver", folder)]
        arguments += ["serve", model, "--socket", str(self.path)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vfio_ims.cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while "serving" not in self._log.read_text():
            if not self.alive or time.monotonic() > deadline:
                said = self._log.read_text().strip() or "it said nothing"
                raise SetupError(f"serve {self.model}", why=f"the server did not start: {said}")
            time.sleep(0.01)

    @property
    def name(self) -> str:
        """What opens the device."""
        return f"vfio-user:{self.path}"

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """End the process; safe to call again."""
        if self.alive:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP)
        if self.alive:
            self._process.kill()
        self._process.wait()
