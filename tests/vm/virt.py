# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line for an arm64 guest: over a root of its own, with a copy of this repository at its place."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

from tests.arm64.pieces import KERNELS, find
from tests.arm64.stage import stage
from tests.vm import device_tree
from tests.vm.pieces import HERE, LabError
from tests.vm.platforms import FIRST_SLOT, Platform
from tests.vm.qemu import MEMORY, Shape, folder, kernel_line, quoted

CPU = "max,pauth-impdef=on,sve=off,sme=off"  # its own kind of pointer authentication: the architecture's is slow here
REPO = HERE.parent.parent
ENVIRONMENT = {
    "PYTHONPATH": str(REPO),  # in the root's Python nothing of ours is installed
    "PYTHONDONTWRITEBYTECODE": "",  # what is compiled in the copy of the repository stays for the next guest
}


def command(platform: Platform, shape: Shape) -> list[str]:
    """The guest's command line; NotProvisioned where pieces are missing."""
    pieces = find("machine", "root", "wheel", kernel := KERNELS[platform.page])
    environment = {
        **shape.environment,
        "LAB_REPOSITORY": str(REPO),
        "LAB_INIT": str(HERE / "guest_init.py"),
        "LAB_PYTHON": sys.executable,
    }
    shape = dataclasses.replace(shape, environment=environment)
    line = kernel_line(platform, shape, "ttyAMA0", "/usr/bin/python3", "/lab/init.py")
    machine = [
        str(pieces.machine),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "virt,gic-version=3,accel=tcg,memory-backend=ram"),
        *("-cpu", CPU, "-smp", str(shape.cpus), "-m", f"{shape.memory}M"),
        *("-object", f"{MEMORY[shape.share_memory]},id=ram,size={shape.memory}M"),
        *(("-device", platform.iommu) if platform.iommu else ()),
    ]
    return [
        *machine,
        *(("-dtb", str(_with_device_0(machine, shape.console.with_name("tree")))) if platform.its_device_0 else ()),
        *("-kernel", str(getattr(pieces, kernel)), "-append", line),
        *("-serial", f"file:{quoted(shape.console)}"),
        *folder("hostroot", pieces.root, slot=2, readonly=True),
        *folder("rwdir", shape.rwdir, slot=3, readonly=False),
        *folder("repository", stage(pieces), slot=5, readonly=False),
        *shape.qemu_options,
    ]


def _with_device_0(machine: list[str], to: Path) -> Path:
    """The machine's own device tree, in which every function from the first slot on is the ITS's DeviceID 0."""
    dumped = subprocess.run(
        [*machine, "-machine", f"dumpdtb={quoted(to)}"], capture_output=True, text=True, check=False
    )
    if dumped.returncode or not to.exists():
        raise LabError(f"QEMU did not write its device tree: {dumped.stderr}")
    tree = to.read_bytes()
    its = device_tree.get(tree, "msi-map")[1]
    cells = [0, its, 0, FIRST_SLOT << 3]  # requester, ITS, DeviceID, how many
    for requester in range(FIRST_SLOT << 3, 0x100, 8):
        cells += [requester, its, 0, 1, requester + 1, its, requester + 1, 7]
    cells += [0x100, its, 0x100, 0xFF00]
    to.write_bytes(device_tree.put(tree, "msi-map", tuple(cells)))
    return to
