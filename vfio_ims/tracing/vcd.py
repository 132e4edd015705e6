# SPDX-License-Identifier: Apache-2.0
"""A recording as a value change dump: registers as buses and vectors as events, beside RTL waves in GTKWave or Surfer.

Written by pyvcd, which the extra ``vfio-ims[vcd]`` installs.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from io import StringIO
from typing import TYPE_CHECKING, Any

from vfio_ims.errors import SetupError
from vfio_ims.ports.values import IrqIndex

if TYPE_CHECKING:
    from vfio_ims.tracing.format import Event, Recording

__all__ = ["to_vcd"]

_VALUES = frozenset({"r", "w", "poll"})


def to_vcd(recording: Recording) -> str:
    """The dump, in nanoseconds from the recording's begin. A register changes when it was read or written.

    One scope a BAR, a register by its declared name, else by its offset; its bits are unknown before the first access.
    A vector is an event of the scope ``vectors``. SetupError without pyvcd.
    """
    try:
        vcd = importlib.import_module("vcd")
    except ImportError as error:
        raise SetupError("write a VCD", why="pyvcd is not installed", hint="pip install 'vfio-ims[vcd]'") from error
    out = StringIO()
    variables: dict[tuple[str, str], Any] = {}
    changes = sorted(_changes(recording.events), key=lambda change: change[0])
    comment = f"{recording.header['device']} ({recording.header['mount']})"
    with vcd.VCDWriter(out, timescale="1 ns", comment=comment, date=str(recording.header.get("time", ""))) as writer:
        for _, scope, name, width, _ in changes:
            if (scope, name) not in variables:
                kind = "wire" if width else "event"
                variables[scope, name] = writer.register_var(scope, name, kind, size=width or 1)
        for at, scope, name, _, value in changes:
            writer.change(variables[scope, name], at, value)
    return out.getvalue()


def _changes(events: list[Event]) -> Iterator[tuple[int, str, str, int, Any]]:
    """Time, scope, name, width in bits (0: an event) and value."""
    for event in events:
        if event["k"] in _VALUES and "value" in event and event["region"] < 6:
            name = _identifier(event.get("name") or f"at_{int(event['offset'], 16):x}")
            width = 8 * event["width"]
            scope = f"BAR{event['region']}"
            yield event["t"] + event.get("dt", 0), scope, f"{name}_{width}", width, int(event["value"], 16)
        elif event["k"] == "irq":
            yield event["t"], "vectors", f"{IrqIndex(event['index']).name}_{event['vector']}", 0, True


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_")
