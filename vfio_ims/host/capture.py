# SPDX-License-Identifier: Apache-2.0
"""What a report takes along of a machine: enough of sysfs and proc to look at it elsewhere, and nothing private."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfio_ims.host.holders import Holders, nodes_of
from vfio_ims.host.rules import GROUP, RULES_NAME
from vfio_ims.pci import PciAddress
from vfio_ims.pci.capabilities import decode
from vfio_ims.pci.config import ConfigSpace
from vfio_ims.sysfs.attributes import entries, read_bytes, read_text

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["Capture", "without_serial"]

_SERIAL = 0x0003  # Device Serial Number capability (PCIe base spec 6.0, 7.9.3): 8 bytes at +4 that name one device
_FILES = """
    vendor device class revision subsystem_vendor subsystem_device modalias driver_override numa_node power_state irq
    enable resource reset_method current_link_speed current_link_width max_link_speed max_link_width sriov_numvfs
    sriov_totalvfs boot_vga aer_dev_correctable aer_dev_nonfatal aer_dev_fatal power/control power/runtime_status
    """.split()  # noqa: SIM905 - easier to read
_LINKS = ("driver", "iommu_group", "iommu", "physfn", "subsystem")
# The kernel options that matter here; others may hold names, addresses and keys.
_OPTIONS = re.compile(
    r"(intel_iommu|amd_iommu|iommu|intremap|nox2apic|lockdown|pci|pcie_\w+|vfio[\w.-]*|iommufd[\w.]*|hugepages\w*"
    r"|default_hugepagesz|module_blacklist|x2apic_phys|nomsi)(=.*)?"
)
_STATUS = ("Uid", "Gid", "Groups", "CapEff", "VmLck", "VmPin")


def without_serial(config: ConfigSpace) -> bytes:
    """The bytes of config space, with the serial number zeroed."""
    data = bytearray(config.data)
    for found in decode(config).by_id(_SERIAL, extended=True):
        data[found.offset + 4 : found.offset + 12] = bytes(8)
    return bytes(data)


class Capture:
    """Collects ``files`` by path from the root, each {"text"}, {"hex"}, {"link"} or {"folder"}, nodes and holders."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.files: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.holders: dict[str, list[dict[str, Any]]] = {}

    def take(self, function: Function) -> None:
        """The machine, the function, and those that it depends on."""
        self._system()
        group = function.iommu_group
        members = () if group is None else group.members
        others = [] if function.physical_function is None else [self.machine.function(function.physical_function)]
        for one in (function, *members, *(other for other in others if other is not None)):
            self._function(one)
        for name in entries(self.machine.sys / "kernel/iommu_groups"):
            self._folder(f"sys/kernel/iommu_groups/{name}")
        if group is not None:
            for attribute in ("type", "name", "reserved_regions"):
                self._text(f"sys/kernel/iommu_groups/{group.number}/{attribute}")
            for member in members:
                self._link(f"sys/kernel/iommu_groups/{group.number}/devices/{member.address}")
        for node in (*nodes_of(function), "vfio/vfio", "iommu"):
            self._node(node)
        for name, holders in Holders.scan(self.machine).nodes.items():
            if name.removeprefix("/dev/") in nodes_of(function):
                self.holders[name] = [{"pid": holder.pid, "name": holder.name} for holder in holders]

    def _system(self) -> None:
        for path in ("proc/sys/kernel/osrelease", "sys/kernel/security/lockdown", f"etc/udev/rules.d/{RULES_NAME}"):
            self._text(path)
        options = " ".join(word for word in self.machine.command_line if _OPTIONS.fullmatch(word))
        self.files["proc/cmdline"] = {"text": options}
        self._lines("proc/cpuinfo", r"(vendor_id|model name|flags)\s*:", once=True)
        self._lines("proc/meminfo", r"Huge")
        self._lines("proc/self/status", rf"({'|'.join(_STATUS)}):")
        self._lines("proc/self/limits", r"Max locked memory")
        group = [line for line in (self.machine.text("/etc/group") or "").splitlines() if line.startswith(f"{GROUP}:")]
        self.files["etc/group"] = {"text": "\n".join(line.rpartition(":")[0] + ":" for line in group)}
        for path in ("run/udev/control", ".dockerenv", "run/.containerenv"):
            if (self.machine.root / path).exists():
                self.files[path] = {"text": ""}
        self._text("run/systemd/container")
        for module in ("vfio", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "iommufd"):
            if self.machine.module(module):
                self._folder(f"sys/module/{module}")
            for name in entries(self.machine.sys / f"module/{module}/parameters"):
                self._text(f"sys/module/{module}/parameters/{name}")
        if (self.machine.sys / "class/misc/iommu").exists():
            self._folder("sys/class/misc/iommu")
        for unit in entries(self.machine.sys / "class/iommu"):
            for name in ("cap", "ecap", "version"):
                text = read_text(self.machine.sys / f"class/iommu/{unit}/intel-iommu/{name}")
                if text is not None:
                    self.files[f"sys/class/iommu/{unit}/intel-iommu/{name}"] = {"text": text}
            self.files.setdefault(f"sys/class/iommu/{unit}", {"folder": True})
        self._chips()
        for driver in entries(self.machine.sys / "bus/pci/drivers"):
            if "vfio" in driver:
                self._folder(f"sys/bus/pci/drivers/{driver}")

    def _chips(self) -> None:
        """One interrupt of each kind of chip: they show interrupt remapping."""
        seen = set()
        for number in entries(self.machine.sys / "kernel/irq"):
            chip = read_text(self.machine.sys / f"kernel/irq/{number}/chip_name") or ""
            kind = re.sub(r"-[0-9a-f]{4}:.*", "", chip)
            if chip and kind not in seen:
                seen.add(kind)
                self.files[f"sys/kernel/irq/{number}/chip_name"] = {"text": chip}

    def _function(self, function: Function) -> None:
        home = self._real(function.path)
        self._link(f"sys/bus/pci/devices/{function.address}")
        for name in _FILES:
            text = read_text(function.path / name)
            if text is not None:
                self.files[f"{home}/{name}"] = {"text": text}
        if function.resettable:
            self.files[f"{home}/reset"] = {"text": ""}
        if function.config is not None:
            self.files[f"{home}/config"] = {"hex": without_serial(function.config).hex()}
        for name in (*_LINKS, *(name for name in entries(function.path) if name.startswith("virtfn"))):
            self._link(f"{home}/{name}")
        if function.driver is not None:
            self._folder(f"sys/bus/pci/drivers/{function.driver}")
            self.files[f"sys/bus/pci/drivers/{function.driver}/{function.address}"] = {
                "link": os.path.relpath(home, f"sys/bus/pci/drivers/{function.driver}")
            }
        for irq in function.msi_irqs:
            self.files[f"{home}/msi_irqs/{irq.number}"] = {"text": irq.mode or ""}
            for name in ("chip_name", "actions", "hwirq"):
                self._text(f"sys/kernel/irq/{irq.number}/{name}")
        if function.vfio_cdev is not None:
            self._text(f"{home}/vfio-dev/{function.vfio_cdev}/dev")
        self._named(home)
        if function.iommu is not None:
            self._folder(self._real(function.path / "iommu"))

    def _named(self, folder: str, depth: int = 4) -> None:
        """The kernel's devices below the function: their names, and nothing that is in them."""
        with os.scandir(self.machine.root / folder) as found:
            below = [one.name for one in found if one.is_dir(follow_symlinks=False)]
        for name in below:
            path = f"{folder}/{name}"
            if not PciAddress.looks_like(name) and depth:
                self._link(f"{path}/subsystem")
                self._named(path, depth - 1)

    def _real(self, path: Path) -> str:
        """Where ``path`` leads, from the root."""
        return str(Path(os.path.realpath(path)).relative_to(os.path.realpath(self.machine.root)))

    def _text(self, path: str) -> None:
        text = read_text(self.machine.root / path)
        if text is not None:
            self.files[path] = {"text": text}

    def _lines(self, path: str, pattern: str, *, once: bool = False) -> None:
        """The lines that start so; ``once``: each kind only the first time, as for the first processor."""
        found: dict[str, str] = {}
        for line in (read_bytes(self.machine.root / path, 1 << 22) or b"").decode(errors="replace").splitlines():
            match = re.match(pattern, line)
            if match:
                found.setdefault(match[0] if once else line, line)
        if found:
            self.files[path] = {"text": "\n".join(found.values())}

    def _folder(self, path: str) -> None:
        if (self.machine.root / path).is_dir():
            self.files.setdefault(path, {"folder": True})

    def _link(self, path: str) -> None:
        place = self.machine.root / path
        if place.is_symlink():
            self.files[path] = {"link": os.path.relpath(self._real(place), os.path.dirname(path))}

    def _node(self, name: str) -> None:
        node = self.machine.node(name)
        if node is not None:
            owner = node.owner if node.owner == "root" else "another user"
            self.nodes[node.path] = {
                "mode": node.mode,
                "owner": owner,
                "group": node.group,
                "accessible": node.accessible,
            }
