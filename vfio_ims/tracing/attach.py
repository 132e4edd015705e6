# SPDX-License-Identifier: Apache-2.0
"""Begins and ends a recording: of a device that is open, or of the next ones that are opened."""

from __future__ import annotations

import platform as machine
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from vfio_ims import __version__
from vfio_ims.device import Device
from vfio_ims.errors import UsageError, VfioImsError
from vfio_ims.families import blocks_of, family_for
from vfio_ims.ims import ImsDomain, SlotArray
from vfio_ims.locks import made, make_lock
from vfio_ims.native.watch import watch
from vfio_ims.ports.values import IrqIndex, RegionIndex
from vfio_ims.registers import Block
from vfio_ims.tracing.format import FORMAT, VERSION, Event, open_to_write
from vfio_ims.tracing.names import RegisterNames
from vfio_ims.tracing.opening import OPENED
from vfio_ims.tracing.ports import PortRecording
from vfio_ims.tracing.recorder import Recorder
from vfio_ims.tracing.values import answer_to, irq_to, region_to

if TYPE_CHECKING:
    from vfio_ims.families import Family
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.ports.values import Area
    from vfio_ims.registers import SlotLayout

__all__ = ["Trace", "trace", "trace_into", "trace_opened"]

_REPLAY = "replay"


class HasDevice(Protocol):
    """A driver: it has its device."""

    @property
    def device(self) -> Device: ...


class Trace:
    """A recording under way. ``mark(text)`` writes a line of the caller's own; ``close`` ends it."""

    def __init__(self, port: DevicePort, file: IO[str], *, contents: bool, from_open: bool) -> None:
        self._port = port
        self._device: Device | None = None
        ids = _identity(port)
        self._names = RegisterNames(blocks_of(_family(ids)), self._layouts, self._msix)
        self.recorder = Recorder(file, contents=contents, describe=self._names.describe, messages=self._slots)
        self.recorder.header(_header(port, ids) | {"contents": contents, "from_open": from_open})
        self._recording = PortRecording(port, self.recorder)
        _binding.change(add=self)
        watch.add(self.recorder)

    def follow(self, device: Device) -> None:
        """Record what ``device`` has open already, too: windows and vectors."""
        self._device = device
        for number, bar in device.open_bars.items():
            self._recording.add_window(bar.window, number)
        interrupts = made(device, "interrupts")
        if interrupts is not None:
            self.recorder.vectors |= interrupts.descriptors()

    def _layouts(self) -> Iterable[SlotLayout]:
        device = self._device
        domains = [] if device is None else device.open_children(ImsDomain)
        return [domain.table.layout for domain in domains if isinstance(domain.table, SlotArray)]

    def _msix(self) -> tuple[int, Area] | None:
        """The MSI-X table, once the device's user has read where it is: a recorder does not access the device."""
        device = self._device
        return device.msix_table if device is not None and "capabilities" in vars(device) else None

    def _slots(self, region: int, stores: list[list[int]]) -> dict[int, str]:
        return {index: self._message(*message) for index, message in self._names.messages(region, stores).items()}

    def _message(self, address: int, data: int) -> str:
        """A slot's message in words: the vector whose message it is, or the memory that it writes."""
        if not address:
            return "none"
        interrupts = None if self._device is None else made(self._device, "interrupts")
        pool = None if interrupts is None else made(interrupts, "donors")
        for donor in [] if pool is None else list(pool.vectors.values()):
            if (donor.message.address, donor.message.data) == (address, data):
                return f"vector {donor.vector}"
        return self.recorder.symbol(address) or f"{address:#x}/{data:#x}"

    def bound(self, block: Block) -> None:
        """A block was bound somewhere in the process."""
        region = self._recording.region_of(block.window)
        if region is not None:
            self._names.bound(region, block.base, type(block))

    def name_of(self, region: int, offset: int, width: int) -> str:
        """The name of a register, or ""."""
        found = self._names.describe(region, offset, width, 0, False)
        return str(found["name"]) if found else ""

    def mark(self, text: str) -> None:
        """Write a line of the caller's own: a phase, a test's name."""
        self.recorder.note("mark", text=text)

    def close(self) -> None:
        """End the recording; the device stays as it is."""
        _binding.change(remove=self)
        watch.remove(self.recorder)
        self._recording.end()
        self.recorder.close()


class _Binding:
    """The recordings under way that want to know of bound blocks."""

    def __init__(self) -> None:
        self._lock = make_lock()
        self._traces: tuple[Trace, ...] = ()

    def change(self, *, add: Trace | None = None, remove: Trace | None = None) -> None:
        with self._lock:
            kept = tuple(one for one in self._traces if one is not remove)
            self._traces = kept if add is None else (*kept, add)
            Block.on_bind = self._bound if self._traces else None

    def _bound(self, block: Block) -> None:
        for one in self._traces:
            one.bound(block)


_binding = _Binding()


def _identity(port: DevicePort) -> str:
    """Vendor and device id."""
    found = port.read_region(RegionIndex.CONFIG, 0, 4) if port.region_info(RegionIndex.CONFIG).size else bytes(4)
    return f"{int.from_bytes(found[:2], 'little'):04x}:{int.from_bytes(found[2:], 'little'):04x}"


def _family(ids: str) -> Family | None:
    with suppress(VfioImsError):
        vendor, device = (int(part, 16) for part in ids.split(":"))
        return family_for(vendor, device)
    return None


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
