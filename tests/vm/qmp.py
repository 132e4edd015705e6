# SPDX-License-Identifier: Apache-2.0
"""QEMU's monitor: as much of it as plugging a device in and out takes."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Self

__all__ = ["Qmp"]


class Qmp:
    """A connection to ``-qmp unix:PATH,server=on,wait=off``."""

    def __init__(self, path: str, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(path)
        self._lines = self._socket.makefile("rw")
        self._lines.readline()  # the greeting
        self.run("qmp_capabilities")

    def run(self, command: str, **arguments: Any) -> Any:
        """Run a command and return its answer. Events that come before it are dropped."""
        self._lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._lines.flush()
        while "event" in (answer := json.loads(self._lines.readline())):
            continue
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def wait(self, event: str) -> dict[str, Any]:
        """The next event of this name."""
        while (heard := json.loads(self._lines.readline())).get("event") != event:
            continue
        found: dict[str, Any] = heard["data"]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lines.close()
        self._socket.close()
