# SPDX-License-Identifier: Apache-2.0
"""What the kernel itself uses a function for right now: what would be lost if its driver let go of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.pci import PciAddress
from vfio_ims.sysfs.attributes import entries, read_int, read_text

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["Uses"]

_UP = 1  # IFF_UP
_DISPLAY = 0x03
_MULTIPATH = re.compile(r"nvme(\d+)c\d+n(\d+)")  # a path to the disk nvme0n1, under the function; the disk is not


class Uses:
    """One look at interfaces, disks, displays and queues, for all functions."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def of(self, function: Function) -> tuple[str, ...]:
        """Each use in words; empty: nothing seen."""
        return (
            *(f"network interface {name} {why}" for name, why in self._networks.get(function.address, ())),
            *(f"disk {name} {why}" for name, why in self._disks.get(function.address, ())),
            *self._display(function),
            *_queues(function),
        )

    def _devices(self, kind: str) -> Iterator[tuple[str, Path, PciAddress]]:
        """Devices of a class that belong to functions: name, folder, the nearest function above."""
        folder = self._machine.sys / "class" / kind
        for name in entries(folder):
            real = Path(os.path.realpath(folder / name))
            for part in reversed(real.parts):
                if PciAddress.looks_like(part):
                    yield name, real, PciAddress.parse(part)
                    break

    @cached_property
    def _networks(self) -> dict[PciAddress, list[tuple[str, str]]]:
        found: dict[PciAddress, list[tuple[str, str]]] = {}
        for name, place, address in self._devices("net"):
            why = self._network_use(name, place)
            if why:
                found.setdefault(address, []).append((name, why))
        return found

    def _network_use(self, name: str, place: Path) -> str:
        master = place / "master"
        if master.is_symlink():
            return f"is a port of {os.path.basename(os.readlink(master))}"
        if not (read_int(place / "flags") or 0) & _UP:
            return ""
        if name in self._addressed:
            return "is up and has an address"
        return "is up and has a link" if read_text(place / "operstate") == "up" else ""

    @cached_property
    def _addressed(self) -> set[str]:
        """Interfaces with a route or an IPv6 address other than the link's own."""
        routes = (self._machine.text("/proc/net/route") or "").splitlines()[1:]
        found = {line.split()[0] for line in routes if line.split()}
        for line in (self._machine.text("/proc/net/if_inet6") or "").splitlines():
            words = line.split()
            if len(words) == 6 and not words[0].startswith("fe8"):
                found.add(words[5])
        return found

    @cached_property
    def _disks(self) -> dict[PciAddress, list[tuple[str, str]]]:
        found: dict[PciAddress, list[tuple[str, str]]] = {}
        for name, place, address in self._devices("block"):
            path = _MULTIPATH.match(name)
            disk = f"nvme{path[1]}n{path[2]}" if path else name
            real = Path(os.path.realpath(self._machine.sys / "class/block" / disk)) if path else place
            parts = [disk, *(part for part in entries(real) if (real / part / "partition").exists())]
            for part in parts:
                why = self._disk_use(part, real if part == disk else real / part)
                if why and (part, why) not in found.setdefault(address, []):
                    found[address].append((part, why))
        return found

    def _disk_use(self, name: str, place: Path) -> str:
        number = read_text(place / "dev")
        for device, source, where in self._mounts:
            if device == number or source == f"/dev/{name}":
                return f"is mounted on {where}"
        if f"/dev/{name}" in self._swaps:
            return "is swap"
        holders = entries(place / "holders")
        return f"is part of {', '.join(holders)}" if holders else ""

    @cached_property
    def _mounts(self) -> list[tuple[str, str, str]]:
        """Device number, source and place of every mount."""
        found = []
        for line in (self._machine.text("/proc/self/mountinfo") or "").splitlines():
            words = line.split()
            if "-" in words and len(words) > words.index("-") + 2:
                found.append((words[2], words[words.index("-") + 2], words[4]))
        return found

    @cached_property
    def _swaps(self) -> set[str]:
        return {line.split()[0] for line in (self._machine.text("/proc/swaps") or "").splitlines()[1:] if line.split()}

    def _display(self, function: Function) -> Iterator[str]:
        if function.class_code is None or function.class_code >> 16 != _DISPLAY or function.driver is None:
            return
        lit = [
            name
            for name, place, address in self._devices("drm")
            if address == function.address and read_text(place / "enabled") == "enabled"
        ]
        if lit:
            yield f"display {', '.join(lit)} is on"
        elif read_int(function.path / "boot_vga") == 1:
            yield "it is the display that the machine started with"


def _queues(function: Function) -> Iterator[str]:
    """idxd: a folder for each queue below the device's, with the number of its clients."""
    if function.driver != "idxd":
        return
    for device in entries(function.path):
        for queue in entries(function.path / device) if re.fullmatch(r"(dsa|iax)\d+", device) else ():
            clients = read_int(function.path / device / queue / "clients")
            if queue.startswith("wq") and clients:
                yield f"queue {queue} of {device} has {counted(clients, 'client')}"
