# SPDX-License-Identifier: Apache-2.0
"""Builds a sysfs tree in a temporary folder, laid out and linked as the kernel's is."""

import os
from collections.abc import Mapping
from pathlib import Path

IO, MEM32, MEM64, MEM64_PREFETCH = 0x40101, 0x40200, 0x140204, 0x14220C


class Tree:
    """A sysfs in ``root``. What is not given is left out, as older kernels and hosts without an IOMMU leave it out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("bus/pci/devices", "bus/pci/drivers", "class", "kernel/irq", "kernel/iommu_groups", "devices"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def file(self, path: Path | str, content: str | bytes) -> Path:
        """A file with ``content``; text gets the newline that sysfs ends with."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
        return place

    def link(self, path: Path | str, target: Path | str) -> Path:
        """A relative link at ``path`` to ``target``, both from the root."""
        place, end = self.root / path, self.root / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        place.symlink_to(os.path.relpath(end, place.parent))
        return place

    def function(
        self,
        address: str,
        ids: str = "8086:0b25",
        *,
        class_code: int = 0x088000,
        revision: int = 0,
        subsystem: str = "8086:0000",
        driver: str | None = None,
        override: str | None = None,
        group: int | None = None,
        iommu: str | None = None,
        numa: int = -1,
        config: bytes | None = None,
        bars: Mapping[int, int] | None = None,
        vfio: int | None = None,
        irqs: Mapping[int, str] | None = None,
        reset: str | None = "flr bus",
        power: str = "D0",
        parent: str = "pci0000:00",
    ) -> Path:
        """A function at its canonical ``address``, with its links. ``bars`` are sizes by number, ``irqs`` chips' names
        by number. ``parent`` is the folder above it: a host bridge, or the path of a bridge within ``devices``.
        """
        home = Path("devices") / parent / address
        vendor, device = ids.split(":")
        for name, value in (
            ("vendor", f"0x{vendor}"),
            ("device", f"0x{device}"),
            ("class", f"{class_code:#08x}"),
            ("revision", f"{revision:#04x}"),
            ("subsystem_vendor", f"0x{subsystem.split(':')[0]}"),
            ("subsystem_device", f"0x{subsystem.split(':')[1]}"),
            ("driver_override", override or "(null)"),
            ("numa_node", str(numa)),
            ("power_state", power),
            ("irq", "0"),
            ("enable", "0"),
            ("resource", self._resource(bars or {})),
        ):
            self.file(home / name, value)
        if config is not None:
            self.file(home / "config", config)
        if reset is not None:
            self.file(home / "reset_method", reset)
            self.file(home / "reset", "")
        self.link(f"bus/pci/devices/{address}", home)
        self.link(home / "subsystem", "bus/pci")
        if driver is not None:
            self.driver(driver)
            self.link(home / "driver", f"bus/pci/drivers/{driver}")
            self.link(f"bus/pci/drivers/{driver}/{address}", home)
        if group is not None:
            self.link(home / "iommu_group", f"kernel/iommu_groups/{group}")
            self.link(f"kernel/iommu_groups/{group}/devices/{address}", home)
            self.file(f"kernel/iommu_groups/{group}/type", "DMA-FQ")
        if iommu is not None:
            self.file(f"devices/virtual/iommu/{iommu}/name", iommu)
            self.link(home / "iommu", f"devices/virtual/iommu/{iommu}")
        if vfio is not None:
            self.file(home / f"vfio-dev/vfio{vfio}/dev", f"511:{vfio}")
            self.link(home / f"vfio-dev/vfio{vfio}/subsystem", "class/vfio-dev")
            self.link(f"class/vfio-dev/vfio{vfio}", home / f"vfio-dev/vfio{vfio}")
        for number, chip in (irqs or {}).items():
            self.file(home / "msi_irqs" / str(number), "msix")
            self.file(f"kernel/irq/{number}/chip_name", chip)
            self.file(f"kernel/irq/{number}/actions", f"vfio-msix[0]({address})")
            self.file(f"kernel/irq/{number}/hwirq", "0")
        return self.root / home

    def driver(self, name: str) -> Path:
        """A driver of the PCI bus."""
        for attribute in ("bind", "unbind", "new_id"):
            self.file(f"bus/pci/drivers/{name}/{attribute}", "")
        return self.root / f"bus/pci/drivers/{name}"

    def named(self, address: str, name: str, *, kind: str = "class/net", below: str = "") -> Path:
        """A kernel device ``name`` of a class or bus (``bus/dsa``) that belongs to the function; ``below``: under that
        one of its devices instead of right under it.
        """
        home = Path(os.path.relpath((self.root / "bus/pci/devices" / address).resolve(), self.root.resolve())) / below
        family = Path(kind).name
        device = home / name if kind.startswith("bus/") else home / family / name
        self.file(device / "uevent", "")
        self.link(device / "subsystem", kind)
        self.link(f"{kind}/devices/{name}" if kind.startswith("bus/") else f"{kind}/{name}", device)
        return self.root / device

    @staticmethod
    def _resource(bars: Mapping[int, int]) -> str:
        lines, base = [], 0x20CC_0000_0000
        for index in range(13):
            size = bars.get(index, 0)
            start = base + index * (1 << 28)
            words = (start, start + size - 1, MEM64_PREFETCH) if size else (0, 0, 0)
            lines.append(" ".join(f"{word:#018x}" for word in words))
        return "\n".join(lines)
