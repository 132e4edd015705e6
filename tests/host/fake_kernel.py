# SPDX-License-Identifier: Apache-2.0
"""Plays the kernel to a tree: what a write to driver_override, bind, unbind or sriov_numvfs brings about."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from tests.sysfs.tree import Tree
from vfio_ims.host.machine import Machine
from vfio_ims.host.writer import Writer
from vfio_ims.sysfs.attributes import link_name, read_text

TAKES: Mapping[str, tuple[str, ...]] = {"idxd": ("8086:",), "igb": ("8086:1521", "8086:1520"), "nvme": ("144d:",)}
DENIED = ("8086:0b25", "8086:0cfe")


class FakeKernel(Writer):
    """A writer whose writes have effects. ``kill_at``: this process ends before write number so many, or (with .5)

    right after it.
    """

    def __init__(self, machine: Machine, kill_at: float | None = None, deaf: tuple[str, ...] = ()) -> None:
        super().__init__(machine)
        self.tree = Tree(machine.root / "sys")
        self.writes: list[str] = []
        self._kill_at, self._deaf = kill_at, deaf

    def put(self, path: str, text: str) -> None:
        if self._kill_at == len(self.writes):
            os.kill(os.getpid(), signal.SIGKILL)
        self.writes.append(f"{path} {text.strip()}")
        if not (self.tree.root / path).exists():
            raise OSError(errno.ENOENT, "no such file", path)
        if not any(part in path for part in self._deaf):
            self._react(path, text)
        if self._kill_at == len(self.writes) - 0.5:
            os.kill(os.getpid(), signal.SIGKILL)

    def _react(self, path: str, text: str) -> None:
        parts = Path(path).parts
        if parts[-1] == "driver_override":
            self.tree.file(path, text.strip() or "(null)")
        elif parts[-1] == "unbind":
            self._unbind(parts[-2], text)
        elif parts[-1] == "bind":
            self._bind(parts[-2], text)
        elif parts[-1] == "sriov_numvfs":
            self._virtual(parts[-2], int(text))
        else:
            raise OSError(errno.EACCES, "not played", path)

    def _folder(self, address: str) -> Path:
        return self.tree.root / "bus/pci/devices" / address

    def _id(self, address: str) -> str:
        vendor, device = (read_text(self._folder(address) / name) or "" for name in ("vendor", "device"))
        return f"{vendor[2:]}:{device[2:]}"

    def _unbind(self, driver: str, address: str) -> None:
        if link_name(self._folder(address) / "driver") != driver:
            raise OSError(errno.ENODEV, "not bound")
        if (self._folder(address) / "sriov_numvfs").exists():
            self._virtual(address, 0)
        (self._folder(address) / "driver").unlink()
        (self.tree.root / f"bus/pci/drivers/{driver}/{address}").unlink()

    def _bind(self, driver: str, address: str) -> None:
        folder = self._folder(address)
        override = read_text(folder / "driver_override")
        own = any(self._id(address).startswith(prefix) for prefix in TAKES.get(driver, ()))
        if (folder / "driver").exists() or (override != driver if override != "(null)" else not own):
            raise OSError(errno.ENODEV, "no match")
        if driver == "vfio-pci" and self._id(address) in DENIED and self.denylist:
            raise OSError(errno.EINVAL, "denied")
        self.tree.link(f"bus/pci/devices/{address}/driver", f"bus/pci/drivers/{driver}")
        self.tree.link(f"bus/pci/drivers/{driver}/{address}", f"bus/pci/devices/{address}")

    @property
    def denylist(self) -> bool:
        return read_text(self.tree.root / "module/vfio_pci/parameters/disable_denylist") != "Y"

    def _virtual(self, address: str, count: int) -> None:
        folder = self._folder(address)
        current = int(read_text(folder / "sriov_numvfs") or "0")
        if count and current:
            raise OSError(errno.EBUSY, "there are some")
        for number in range(current):
            name = f"{address[:-1]}{number + 1}"
            driver = link_name(self._folder(name) / "driver")
            if driver:
                self._unbind(driver, name)
            (self.tree.root / "bus/pci/devices" / name).unlink()
            (folder / f"virtfn{number}").unlink()
        for number in range(count):
            name = f"{address[:-1]}{number + 1}"
            self.tree.function(name, "8086:1520", driver="igb", group=100 + number)
            self.tree.link(f"bus/pci/devices/{address}/virtfn{number}", f"bus/pci/devices/{name}")
        self.tree.file(f"bus/pci/devices/{address}/sriov_numvfs", str(count))


def state(root: Path) -> dict[str, tuple[str | None, ...]]:
    """Driver, override and sriov_numvfs of every function."""
    devices = root / "sys/bus/pci/devices"
    return {
        name: (
            link_name(devices / name / "driver"),
            read_text(devices / name / "driver_override"),
            read_text(devices / name / "sriov_numvfs"),
        )
        for name in sorted(os.listdir(devices))
    }
