# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims monitor``: devices coming and going, or what one of them is doing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count as counting
from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import console, device_argument, echo, json_option, plain, print_json_line, seconds
from vfio_ims.cli.reader import reader_left
from vfio_ims.errors import DeviceBusy, UsageError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from vfio_ims.cli.sparkline import History
    from vfio_ims.driver import Driver
    from vfio_ims.host.activity import Sample, View

__all__ = ["command"]


@click.command()
@device_argument(required=False)
@click.option("--existing", is_flag=True, help="Without DEVICE: report the devices that are there already, too.")
@click.option("--fire", is_flag=True, help="Open DEVICE and fire its slots in turn. Models are always opened.")
@click.option(
    "--slots", type=click.IntRange(1), help="With --fire, and for models: how many slots.  [4, or all of fewer]"
)
@click.option(
    "--interval", type=float, callback=seconds, default=1.0, show_default=True, help="Seconds between two looks."
)
@click.option("-n", "--count", type=click.IntRange(1), help="End after so many events or looks.")
@json_option
def command(
    device: str | None, existing: bool, fire: bool, slots: int | None, interval: float, count: int | None, as_json: bool
) -> int:
    """Without DEVICE: a line for each device that appears, is bound, ready (yours to open), unbound, removed.

    With DEVICE: its interrupts per vector and slot, with rates, errors and state; on a terminal, with sparklines of the
    last rates, each against its own highest. Looking does not disturb it. Slots of
    a device that another program has are shown where that publishes them (vfio_ims.host.activity.Published). Ends at
    Ctrl-C. With --json each change is a JSON document on a line of its own.
    """
    if device is None:
        return _events(existing, count, as_json)
    with _viewed(device, fire, slots) as (view, rig):
        out = console()
        if not as_json and out.is_terminal and not out.is_dumb_terminal and not plain():
            _watch(device, view, rig, interval, count)
        else:
            _print_looks(device, view, rig, interval, count, as_json)
    return exits.OK


def _events(existing: bool, count: int | None, as_json: bool) -> int:
    from vfio_ims.host import DeviceEvents

    with DeviceEvents(existing=existing) as events:
        for number, event in enumerate(events, 1):
            moment = time.strftime("%H:%M:%S", time.localtime(event.time))
            if as_json:
                print_json_line("event", event.to_json())
            else:
                echo(f"{moment} {event}")
            sys.stdout.flush()
            if number == count or reader_left():
                break
    return exits.OK


class _Rig:
    """Fires the slots of a driver in turn."""

    def __init__(self, driver: Driver, slots: int | None) -> None:
        self._driver = driver
        size = driver.ims.table.size
        if slots is not None and slots > size:
            why = f"--slots must be 1 to {size}, the size of its table, not {slots}"
            raise UsageError("fire its slots", device=driver.label, why=why)
        self._group = driver.ims.allocate_group(slots or min(4, size))
        self._turn = counting()

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            irq = self._group[next(self._turn) % len(self._group)]
            self._driver.fire(irq.slot)
            irq.wait(timeout=0.1)
            time.sleep(0.001)


@contextmanager
def _viewed(device: str, fire: bool, slots: int | None) -> Iterator[tuple[View, _Rig | None]]:
    from vfio_ims.driver import open_driver
    from vfio_ims.host import Machine
    from vfio_ims.host.activity import DriverView, FunctionView, Published
    from vfio_ims.host.selection import is_software, not_here
    from vfio_ims.names import Name

    machine = Machine()
    known = machine.function(device.partition(",")[0])
    if known is not None and not fire:
        yield FunctionView(machine, known), None
        return
    if known is None and not is_software(device):
        raise not_here(device, "watch it", software=True)
    name = Name.parse(device) if known is None else Name.parse(str(known.address))
    with open_driver(name) as driver, ExitStack() as stack:
        try:
            stack.enter_context(Published(driver))
        except DeviceBusy as error:
            echo(f"Not shown to other processes: {error}", err=True)
        yield DriverView(driver), _Rig(driver, slots)


def _pause(rig: _Rig | None, interval: float) -> None:
    if rig is None:
        time.sleep(interval)
    else:
        rig.run(interval)


def _rates(before: Sample | None, now: Sample) -> tuple[dict[str, float], dict[int, float]]:
    """Events a second since the look before."""
    if before is None or now.time <= before.time:
        return {}, {}
    span = now.time - before.time
    vectors = {name: (value - before.vectors.get(name, 0)) / span for name, value in now.vectors.items()}
    slots = {slot: (value - (before.slots or {}).get(slot, 0)) / span for slot, value in (now.slots or {}).items()}
    return vectors, slots


def _print_looks(device: str, view: View, rig: _Rig | None, interval: float, count: int | None, as_json: bool) -> None:
    """A line a look: for pipes and files."""
    before = None
    for number in counting(1):
        sample = view.sample()
        vectors, slots = _rates(before, sample)
        if as_json:
            content = {
                "device": device,
                "time": time.time(),
                "state": sample.state,
                "vectors": {k: {"events": v, "rate": round(vectors.get(k, 0.0), 3)} for k, v in sample.vectors.items()},
                "slots": None
                if sample.slots is None
                else {str(k): {"events": v, "rate": round(slots.get(k, 0.0), 3)} for k, v in sample.slots.items()},
                "errors": sample.errors,
            }
            print_json_line("monitor", content)
        else:
            parts = [f"{name}: {value} ({vectors.get(name, 0):.0f}/s)" for name, value in sample.vectors.items()]
            parts += [
                f"slot {slot}: {value} ({slots.get(slot, 0):.0f}/s)" for slot, value in (sample.slots or {}).items()
            ]
            parts += [f"{name}: {text}" for name, text in sample.errors.items()]
            echo(f"{time.strftime('%H:%M:%S')} {device} [{sample.state}] {', '.join(parts) or 'no interrupts'}")
        sys.stdout.flush()
        before = sample
        if number == count or reader_left() or sample.state in ("gone", "closed"):
            return
        _pause(rig, interval)


def _watch(device: str, view: View, rig: _Rig | None, interval: float, count: int | None) -> None:
    """A table that follows the terminal's size, with the last rates as sparklines."""
    from rich.live import Live

    from vfio_ims.cli.sparkline import History

    out = console()
    before = None
    history = History()
    with Live(console=out, auto_refresh=False, screen=False) as live:
        for number in counting(1):
            sample = view.sample()
            rates = _rates(before, sample)
            if before is not None:
                history.add(rates[0] | {f"slot {slot}": rate for slot, rate in rates[1].items()})
            live.update(_table(device, sample, rates, out.size.height, _lines(out, history)), refresh=True)
            before = sample
            if number == count or sample.state in ("gone", "closed"):
                return
            _pause(rig, interval)


def _lines(out: Console, history: History) -> Callable[[str], str] | None:
    """What draws a source's sparkline; None where the terminal is too narrow, or has no such characters."""
    width = min(out.size.width - 40, 32)
    if width < 8 or not out.encoding.lower().startswith("utf"):
        return None
    return lambda name: history.line(name, width)


def _table(
    device: str,
    sample: Sample,
    rates: tuple[dict[str, float], dict[int, float]],
    height: int,
    line: Callable[[str], str] | None,
) -> RenderableType:
    """Vectors, then the busiest slots: as many as the terminal has lines for."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    vectors, slots = rates
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Source", no_wrap=True)
    for title in ("Events", "Rate"):
        table.add_column(title, justify="right", no_wrap=True)
    if line is not None:
        table.add_column("Last rates", no_wrap=True)
    room = max(height - 4 - len(sample.errors), 1)
    rows = [(name, value, vectors.get(name, 0.0)) for name, value in sample.vectors.items()]
    known = sample.slots or {}
    busiest = sorted(known, key=lambda slot: (-slots.get(slot, 0.0), slot))
    rows += [(f"slot {slot}", known[slot], slots.get(slot, 0.0)) for slot in busiest]
    for name, value, rate in rows[:room]:
        drawn = [] if line is None else [Text(line(name))]
        table.add_row(Text(name), str(value), f"{rate:.1f}/s", *drawn)
    parts: list[RenderableType] = [Text.assemble((device, "bold"), f"  {sample.state}"), table]
    if len(rows) > room:
        parts.append(Text(f"and {len(rows) - room} more", style="dim"))
    if sample.slots is None and sample.vectors:
        parts.append(Text("slots: only the program that has it open knows them", style="dim"))
    parts += [Text(f"{name}: {text}", style="red") for name, text in sample.errors.items()]
    return Group(*parts)
