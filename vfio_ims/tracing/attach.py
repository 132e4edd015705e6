# SPDX-License-Identifier: Apache-2.0
"""Begins and ends a recording: of a device that is open, or of the next ones that are opened."""

from __future__ import annotations

import platform as machine
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from vfio_ims import __version__
from vfio_ims.device import Device
from vfio_ims.errors import UsageError
from vfio_ims.ports.values import IrqIndex
from vfio_ims.tracing.attached import Attached, identity
from vfio_ims.tracing.format import FORMAT, VERSION, Event, open_to_write
from vfio_ims.tracing.opening import OPENED
from vfio_ims.tracing.recorder import Describe, Messages, Recorder
from vfio_ims.tracing.values import answer_to, irq_to, region_to

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort

__all__ = ["Trace", "trace", "trace_into", "trace_opened"]

_REPLAY = "replay"


class HasDevice(Protocol):
    """A driver: it has its device."""

    @property
    def device(self) -> Device: ...


class Trace(Attached):
    """A recording under way. ``mark(text)`` writes a line of the caller's own; ``close`` ends it."""

    def __init__(self, port: DevicePort, file: IO[str], *, contents: bool, from_open: bool) -> None:
        def make(describe: Describe, messages: Messages) -> Recorder:
            recorder = Recorder(file, contents=contents, describe=describe, messages=messages)
            recorder.header(_header(port, identity(port)) | {"contents": contents, "from_open": from_open})
            return recorder

        super().__init__(port, make)

    def mark(self, text: str) -> None:
        """Write a line of the caller's own: a phase, a test's name."""
        self.recorder.note("mark", text=text)


def _header(port: DevicePort, ids: str) -> Event:
    info = port.device_info()
    space = port.space
    return {
        "format": FORMAT,
        "version": VERSION,
        "device": port.name,
        "mount": port.mount,
        "id": ids,
        "info": {"flags": int(info.flags), "regions": info.regions, "irqs": info.irqs},
        "regions": [region_to(port.region_info(index)) for index in range(info.regions)],
        "irqs": [irq_to(port.irq_info(index)) for index in IrqIndex if index < info.irqs],
        "space": {
            "name": space.name,
            "translates": space.translates,
            "page_sizes": space.page_sizes(),
            "ranges": answer_to(space.ranges())["ranges"],
        },
        "settle": port.settle,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "kernel": machine.release(),
        "tool": __version__,
    }


def _open(target: str | Path | IO[str]) -> IO[str]:
    return open_to_write(target) if isinstance(target, (str, Path)) else target


def _begin(port: DevicePort, file: IO[str], *, contents: bool, from_open: bool) -> Trace:
    try:
        if port.mount == _REPLAY:
            raise UsageError("record", device=port.name, why="it is a recording, which is its own trace")
        return Trace(port, file, contents=contents, from_open=from_open)
    except BaseException:
        file.close()
        raise


@contextmanager
def trace(device: Device | HasDevice, file: str | Path | IO[str], *, contents: bool = False) -> Iterator[Trace]:
    """Record what is done with an open device, or the device of a driver, to ``file`` while the block runs.

    What already has its registers and windows in hand is recorded too. ``contents``: what devices write to memory is
    recorded byte by byte, so that the recording can be replayed where a driver waits for it; else lengths and hashes
    only. A name that ends in .gz is compressed. UsageError where the file cannot be written.
    """
    found = device if isinstance(device, Device) else device.device
    made_trace = _begin(found.port, _open(file), contents=contents, from_open=False)
    try:
        made_trace.follow(found)
        yield made_trace
    finally:
        made_trace.close()


@contextmanager
def trace_opened(file: str | Path, *, contents: bool = False) -> Iterator[list[Trace]]:
    """Record the devices that are opened by name within the block, from their first access to their close.

    The first goes to ``file``, further ones to ``file`` with .2, .3 and so on before its endings: a recording is of
    one device. ``contents`` as in ``trace``. Yields the recordings so far.
    """
    open_to_write(file).close()  # refused now, not when a device is open
    with trace_into(lambda number: open_to_write(numbered(file, number)), contents=contents) as traces:
        yield traces


@contextmanager
def trace_into(
    open_file: Callable[[int], IO[str]], *, contents: bool = False, replays: bool = True
) -> Iterator[list[Trace]]:
    """As ``trace_opened``, to the files that ``open_file`` gives for the first, second and further device.

    ``replays``: a recording that is opened is an error; False: it is left alone.
    """
    traces: list[Trace] = []

    def begin(port: DevicePort) -> Callable[[Device], None]:
        if port.mount == _REPLAY and not replays:
            return lambda device: None
        made_trace = _begin(port, open_file(len(traces) + 1), contents=contents, from_open=True)
        traces.append(made_trace)
        return made_trace.follow

    OPENED.append(begin)
    try:
        yield traces
    finally:
        OPENED.remove(begin)
        for one in traces:
            one.close()


def numbered(file: str | Path, number: int) -> Path:
    """``run.jsonl`` for the first, ``run.2.jsonl`` for the second."""
    path = Path(file)
    if number == 1:
        return path
    stem, dot, endings = path.name.partition(".")
    return path.with_name(f"{stem}.{number}{dot}{endings}")
