# SPDX-License-Identifier: Apache-2.0
"""The parent's side of a keeper: start it, look whether it lives, end it."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from typing import Any

from vfio_ims.errors import SetupError

__all__ = ["Kept"]

_START = 60.0
_END = 60.0


class Kept:
    """A keeper process with ``arguments``, which is ready when the constructor returns. ``ready`` is what it said.

    SetupError where it ends instead, with its own words. It ends with this process, whatever ends that.
    """

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "vfio_ims.labs.keeper", *arguments]
        self._what = " ".join(arguments)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], _START)
        line = self._process.stdout.readline() if readable else ""
        said: dict[str, Any] = json.loads(line) if line else {"error": f"nothing came within {_START:g} s"}
        if "error" in said:
            self._process.kill()
            self._finish()
            raise SetupError(f"keep {self._what}", why=str(said["error"]))
        self.ready = said

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Let it give back what it has, and wait for that. SetupError where it could not."""
        said = self._finish()
        if self._process.returncode:
            raise SetupError(f"give back {self._what}", why=said or f"exit status {self._process.returncode}")

    def _finish(self) -> str:
        try:
            out, _ = self._process.communicate(timeout=_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, _ = self._process.communicate()
        return str(json.loads(out.splitlines()[-1]).get("error", "")) if out.strip() else ""
