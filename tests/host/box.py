# SPDX-License-Identifier: Apache-2.0
"""A whole machine in a temporary folder: sysfs, proc and dev. What a test does not give is as on a healthy host."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.pci.dumps import SPR_DSA
from tests.sysfs.tree import Tree
from vfio_ims.host.machine import Machine, Node
from vfio_ims.host.report import make_report

DSA, IAA, NIC = "0000:6a:01.0", "0000:6a:02.0", "0000:17:00.0"
GRANITE = SPR_DSA[:2] + bytes.fromhex("fb11") + SPR_DSA[4:]  # a DSA that no denylist has

STATUS = """Name:\tpython
Uid:\t{uid}\t{uid}\t{uid}\t{uid}
Gid:\t{gid}\t{gid}\t{gid}\t{gid}
Groups:\t{groups}
VmLck:\t       {locked} kB
VmPin:\t       0 kB
CapEff:\t{capabilities:016x}
"""
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max open files            20000                20000                files
Max locked memory         {soft:<20} {hard:<20} bytes
"""


class Box:
    """``box.machine`` is what the code under test gets. Root unless ``user`` says otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = Tree(root / "sys")
        self.nodes: dict[str, Node] | None = None
        self.user(0)
        self.file("proc/sys/kernel/osrelease", "6.12.9-amd64")
        self.file("proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555")
        self.file("proc/cmdline", "root=/dev/sda1 quiet intel_iommu=on")

    @property
    def machine(self) -> Machine:
        """As it is now."""
        return Machine(self.root, self.nodes)

    def file(self, path: str, content: str | bytes = "") -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
        return place

    def user(
        self, uid: int, groups: Sequence[int] = (), capabilities: int | None = None, locked: int = 0, memlock: str = ""
    ) -> None:
        """Who looks; ``memlock`` as /proc/self/limits spells it."""
        capabilities = ((1 << 41) - 1 if uid == 0 else 0) if capabilities is None else capabilities
        text = STATUS.format(
            uid=uid, gid=uid, groups=" ".join(map(str, groups)), capabilities=capabilities, locked=locked
        )
        self.file("proc/self/status", text)
        self.file("proc/self/limits", LIMITS.format(soft=memlock or "unlimited", hard=memlock or "unlimited"))

    def parameter(self, module: str, name: str, value: str) -> None:
        self.tree.file(f"module/{module}/parameters/{name}", value)

    def vfio(self, *, denylist: bool = False, iommufd: bool = True) -> None:
        """VFIO's modules loaded, its drivers there."""
        self.parameter("vfio_pci", "disable_denylist", "N" if denylist else "Y")
        self.parameter("vfio_pci", "disable_idle_d3", "N")
        self.parameter("vfio_pci", "enable_sriov", "N")
        self.parameter("vfio_iommu_type1", "allow_unsafe_interrupts", "N")
        self.parameter("vfio_iommu_type1", "dma_entry_limit", "65535")
        self.parameter("vfio", "enable_unsafe_noiommu_mode", "N")
        if iommufd:
            self.parameter("iommufd", "allow_unsafe_interrupts", "N")
            self.tree.file("class/misc/iommu/uevent", "")
        self.tree.driver("vfio-pci")

    def dsa(
        self,
        address: str = DSA,
        ids: str = "8086:11fb",
        *,
        driver: str | None = "idxd",
        group: int = 23,
        **more: object,
    ) -> None:
        """A DSA; bound to vfio-pci it gets its node and its group's (mode 0660, group vfio, accessible)."""
        config = int(ids[:4], 16).to_bytes(2, "little") + int(ids[5:], 16).to_bytes(2, "little") + SPR_DSA[4:]
        if driver == "vfio-pci":
            more.setdefault("vfio", int(address.split(":")[2][:2], 16))
        more.setdefault("config", config)
        self.tree.function(address, ids, driver=driver, group=group, iommu="dmar2", **more)  # type: ignore[arg-type]
        if driver == "vfio-pci":
            self.node(f"vfio/{group}")
            self.node(f"vfio/devices/vfio{more['vfio']}")
            self.node("vfio/vfio", mode=0o666)
            self.node("iommu")

    @staticmethod
    def made_node(path: str, *, mode: int = 0o660, group: str = "vfio", accessible: bool = True) -> dict[str, Node]:
        """A device node by its path."""
        return {f"/dev/{path}": Node(f"/dev/{path}", mode, "root", group, accessible)}

    def node(self, path: str, *, mode: int = 0o660, group: str = "vfio", accessible: bool = True) -> None:
        """A device node of this machine."""
        self.nodes = (self.nodes or {}) | self.made_node(path, mode=mode, group=group, accessible=accessible)

    def process(self, pid: int, name: str, *opened: str, flags: int = os.O_RDWR) -> None:
        """A process with these files open."""
        self.file(f"proc/{pid}/comm", name)
        folder = self.root / f"proc/{pid}/fd"
        folder.mkdir(parents=True, exist_ok=True)
        for number, target in enumerate(opened, 3):
            (folder / str(number)).symlink_to(target)
            self.file(f"proc/{pid}/fdinfo/{number}", f"pos:\t0\nflags:\t0{flags:o}\nmnt_id:\t25")

    def interface(self, address: str, name: str, *, up: bool = True, link: bool = True, addressed: bool = True) -> Path:
        """A network interface of the function."""
        device = self.tree.named(address, name)
        place = Path(os.path.relpath(device, self.tree.root))
        self.tree.file(place / "flags", "0x1003" if up else "0x1002")
        self.tree.file(place / "operstate", "up" if link else "down")
        if addressed:
            self.file("proc/net/route", f"Iface\tDestination\n{name}\t00000000")
        return device

    def disk(self, address: str, name: str, number: str = "259:0") -> Path:
        """A block device of the function."""
        device = self.tree.named(address, name, kind="class/block")
        self.tree.file(Path(os.path.relpath(device, self.tree.root)) / "dev", number)
        return device

    def healthy(self) -> None:
        """Everything in order: an unprivileged member of group vfio can open the DSA, which is bound."""
        from vfio_ims.families import all_families
        from vfio_ims.host.rules import make_rules

        self.file("proc/sys/kernel/osrelease", "6.15.2")
        self.file("proc/cmdline", "quiet intel_iommu=on,sm_on")
        self.file("proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu movdir64b enqcmd")
        self.file("proc/meminfo", "HugePages_Total:      64\nHugePages_Free:       64\nHugepagesize:       2048 kB")
        self.file("run/udev/control")
        self.file("etc/group", "root:x:0:\nvfio:x:990:tester")
        self.file("etc/udev/rules.d/60-vfio-ims.rules", make_rules(all_families()))
        self.user(1000, groups=[990], capabilities=1 << 21, memlock="8388608")
        self.vfio()
        self.dsa(driver="vfio-pci", irqs={40: "IR-PCI-MSIX-0000:6a:01.0"})
        self.tree.file("devices/virtual/iommu/dmar2/intel-iommu/ecap", f"{1 << 43 | 0xF0:x}")
        self.tree.link("class/iommu/dmar2", "devices/virtual/iommu/dmar2")
        for kind in ("correctable", "nonfatal", "fatal"):
            self.tree.file(f"bus/pci/devices/{DSA}/aer_dev_{kind}", f"RxErr 0\nTOTAL_ERR_{kind.upper()[:3]} 0")


def bare_reads(box: Box) -> float:
    """Processor time, in this run and on this machine, of four bare reads a function: what a look is compared with."""
    places = list((box.tree.root / "bus/pci/devices").iterdir())
    began = time.process_time()
    for place in places:
        for name in ("config", "vendor", "device", "class"):
            (place / name).read_bytes()
    return time.process_time() - began


def report_in_use(folder: Path, program: str = "qemu") -> dict[str, Any]:
    """The report of a DSA that ``program`` uses, on a healthy machine; ``folder``: where the machine is made."""
    box = Box(folder / "box")
    box.healthy()
    box.process(77, program, "/dev/vfio/23")
    function = box.machine.function(DSA)
    assert function is not None
    found: dict[str, Any] = make_report(box.machine, function)
    return found


def saved(report: Mapping[str, Any], folder: Path) -> str:
    """Its name for a verb, as a file in ``folder``."""
    place = folder / "report.json"
    place.write_text(json.dumps(report))
    return f"report:{place}"
