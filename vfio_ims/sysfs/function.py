# SPDX-License-Identifier: Apache-2.0
"""One PCI function as the kernel shows it in sysfs. Reading only, and without disturbing the device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vfio_ims.pci import BaseAddress, Capabilities, ConfigSource, ConfigSpace, PciAddress, decode
from vfio_ims.pci.config import HEADER_SIZE
from vfio_ims.sysfs.aliases import names_below
from vfio_ims.sysfs.attributes import SYS, entries, link_name, read_bytes, read_int, read_text
from vfio_ims.sysfs.groups import IommuGroup
from vfio_ims.sysfs.irqs import Irq, read_msi_irqs
from vfio_ims.sysfs.link import PcieLink, read_link
from vfio_ims.sysfs.resources import Resource, bar_sizes, parse_resources

__all__ = ["Function"]


@dataclass(frozen=True)
class Function:
    """A snapshot, taken bit by bit: each property is read once, when it is first asked for. ``fresh`` starts anew.

    What is missing or may not be read is None (or empty), never an error.
    """

    address: PciAddress
    root: Path = SYS

    def __str__(self) -> str:
        return str(self.address)

    @cached_property
    def path(self) -> Path:
        """Its folder."""
        return self.root / "bus/pci/devices" / str(self.address)

    def fresh(self) -> Function:
        """The same function with nothing read yet."""
        return Function(self.address, self.root)

    @property
    def exists(self) -> bool:
        """Whether the kernel has it now; never remembered."""
        return self.path.is_dir()

    @cached_property
    def vendor(self) -> int | None:
        return read_int(self.path / "vendor")

    @cached_property
    def device(self) -> int | None:
        return read_int(self.path / "device")

    @cached_property
    def class_code(self) -> int | None:
        """24 bits: class, subclass, programming interface."""
        return read_int(self.path / "class")

    @cached_property
    def revision(self) -> int | None:
        return read_int(self.path / "revision")

    @cached_property
    def subsystem_vendor(self) -> int | None:
        return read_int(self.path / "subsystem_vendor")

    @cached_property
    def subsystem_device(self) -> int | None:
        return read_int(self.path / "subsystem_device")

    @property
    def id(self) -> str | None:
        """Vendor and device as ``8086:0b25``."""
        return None if self.vendor is None or self.device is None else f"{self.vendor:04x}:{self.device:04x}"

    @cached_property
    def modalias(self) -> str | None:
        """What modprobe finds its drivers by."""
        return read_text(self.path / "modalias")

    @cached_property
    def driver(self) -> str | None:
        """The driver that it is bound to."""
        return link_name(self.path / "driver")

    @cached_property
    def driver_override(self) -> str | None:
        """The only driver that may bind, or None: any."""
        text = read_text(self.path / "driver_override")
        return None if text in (None, "", "(null)") else text

    @cached_property
    def iommu_group(self) -> IommuGroup | None:
        """Its IOMMU group; None without an IOMMU."""
        name = link_name(self.path / "iommu_group")
        return IommuGroup(int(name), self.root) if name is not None and name.isdecimal() else None

    @cached_property
    def iommu(self) -> str | None:
        """The name of the IOMMU in front of it, such as ``dmar2``."""
        return link_name(self.path / "iommu")

    @cached_property
    def numa_node(self) -> int | None:
        """None where the platform does not say (-1 in sysfs)."""
        node = read_int(self.path / "numa_node")
        return None if node is None or node < 0 else node

    @cached_property
    def vfio_cdev(self) -> str | None:
        """The name of its node under ``/dev/vfio/devices``, such as ``vfio3``; only while bound to a VFIO driver.

        ``noiommu-vfio3`` in VFIO's mode without an IOMMU (Linux 7.3).
        """
        names = entries(self.path / "vfio-dev")
        return next((name for name in names if name.startswith(("vfio", "noiommu-vfio"))), None)

    @cached_property
    def resources(self) -> tuple[Resource, ...]:
        """The lines in use of its ``resource`` file."""
        return parse_resources(read_text(self.path / "resource") or "")

    @cached_property
    def bar_sizes(self) -> dict[int, int] | None:
        """Bytes of BAR0 to BAR5, 0 for those that are not there; None if the kernel does not say."""
        return bar_sizes(self.resources) if read_text(self.path / "resource") else None

    @cached_property
    def config(self) -> ConfigSpace | None:
        """What may be read of its config space, which says by whom: 64 bytes without privilege, else 256 or 4096."""
        data = read_bytes(self.path / "config", 4096)
        if data is None or len(data) < HEADER_SIZE:
            return None
        short = len(data) == HEADER_SIZE
        return ConfigSpace(data, ConfigSource.SYSFS_UNPRIVILEGED if short else ConfigSource.SYSFS, str(self.address))

    @cached_property
    def config_size(self) -> int | None:
        """Bytes of config space that it has, readable or not."""
        try:
            return os.stat(self.path / "config").st_size or None
        except OSError:
            return None

    @cached_property
    def capabilities(self) -> Capabilities | None:
        """Its capabilities, as far as config space may be read."""
        return None if self.config is None else decode(self.config)

    @cached_property
    def bars(self) -> tuple[BaseAddress, ...]:
        """Its BARs with their sizes."""
        return () if self.config is None else self.config.bars(sizes=self.bar_sizes)

    @cached_property
    def intx_irq(self) -> int | None:
        """The Linux interrupt of its INTx pin (of a message instead, while MSI is on)."""
        return read_int(self.path / "irq") or None

    @cached_property
    def msi_irqs(self) -> tuple[Irq, ...]:
        """Its message interrupts with their chips' names; empty while none is allocated."""
        return read_msi_irqs(self.path, self.root)

    @cached_property
    def error_counts(self) -> dict[str, int]:
        """The kernel's AER counts that are not 0, as "fatal DLP" or "correctable RxErr", without the totals."""
        found = {}
        for kind in ("fatal", "nonfatal", "correctable"):
            for line in (read_text(self.path / f"aer_dev_{kind}") or "").splitlines():
                name, _, count = line.partition(" ")
                if count.isdecimal() and int(count) and not name.startswith("TOTAL_"):
                    found[f"{kind} {name}"] = int(count)
        return found

    @cached_property
    def reset_methods(self) -> tuple[str, ...] | None:
        """How the kernel would reset it, in the order that it tries; empty: it cannot; None: it does not say."""
        text = read_text(self.path / "reset_method")
        return None if text is None else tuple(text.split())

    @cached_property
    def resettable(self) -> bool:
        """Whether the kernel offers a reset."""
        return (self.path / "reset").exists()

    @cached_property
    def power_state(self) -> str | None:
        """The power state, "D0" to "D3cold"; None where the kernel does not know."""
        text = read_text(self.path / "power_state")
        return None if text in (None, "", "unknown", "error") else text

    @cached_property
    def link(self) -> PcieLink | None:
        """The state of its link, if it has one."""
        return read_link(self.path)

    @cached_property
    def physical_function(self) -> PciAddress | None:
        """For an SR-IOV virtual function: the one that it belongs to."""
        name = link_name(self.path / "physfn")
        return PciAddress.parse(name) if name is not None and PciAddress.looks_like(name) else None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Kernel names of the devices made for it: ``dsa0``, ``eth1``."""
        return names_below(self.path)
