# SPDX-License-Identifier: Apache-2.0
"""The user's half of our jumpstarter drivers."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jumpstarter.client import DriverClient

__all__ = ["VfioClient"]


@dataclass(kw_only=True)
class VfioClient(DriverClient):
    """Registers, interrupts, reset and self-test of a function beside its card (``RemoteFunction``)."""

    def info(self) -> dict[str, Any]:
        """What it is, and where: ids, BARs, vectors, host, kernel."""
        found: dict[str, Any] = self.call("info")
        return found

    def batch(self, operations: Sequence[Sequence[Any]]) -> list[int | None]:
        """Many accesses in one round trip: values of reads and polls, None for writes."""
        found = self.call("batch", [list(operation) for operation in operations])
        return [None if value is None else int(value) for value in found]

    def read(self, bar: int, offset: int, width: int) -> int:
        """One access. ``bar`` 7 is config space."""
        return int(self.batch([("read", bar, offset, width)])[0] or 0)

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        """One access."""
        self.batch([("write", bar, offset, width, value)])

    def reset(self) -> None:
        """The function's own reset."""
        self.call("reset_function")

    def listen(self, vector: int) -> None:
        """Attach an event to an MSI-X vector, before it is made to fire."""
        self.call("listen", vector)

    def wait_interrupt(self, vector: int, seconds: float) -> bool:
        """Whether the vector was raised since the last call; waits for it beside the card."""
        return bool(self.call("wait_interrupt", vector, seconds))

    def interrupts(self, vector: int, seconds: float) -> Generator[bool, None, None]:
        """A stream: True for each wake-up of the vector, until none came for so many seconds."""
        yield from self.streamingcall("interrupts", vector, seconds)

    def selftest(self, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Every slot fired and every interrupt reconciled, by the device's own driver beside the card."""
        found: dict[str, Any] = self.call("selftest", dict(options or {}))
        return found

    def cli(self) -> Any:
        """``j NAME info``, ``j NAME selftest``, ``j NAME read BAR OFFSET WIDTH``."""
        import json

        import click

        @click.group()
        def group() -> None:
            """A PCI function in a lab."""

        @group.command("info")
        def show() -> None:
            """What it is, and where."""
            click.echo(json.dumps(self.info(), indent=1))

        @group.command("selftest")
        def run() -> None:
            """Fire every slot; the report as JSON."""
            click.echo(json.dumps(self.selftest(), indent=1))

        @group.command("read")
        @click.argument("bar", type=int)
        @click.argument("offset", type=lambda text: int(text, 0))
        @click.argument("width", type=int, default=4)
        def look(bar: int, offset: int, width: int) -> None:
            """One register, in hexadecimal."""
            click.echo(f"{self.read(bar, offset, width):#x}")

        return group
