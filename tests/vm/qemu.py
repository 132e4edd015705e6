# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line for a PC over this machine's own root file system."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .agent import PORT
from .pieces import HERE, LabError, find
from .platforms import Platform


@dataclass(frozen=True, slots=True)
class Shape:
    """What a guest has, whatever the platform."""

    cpus: int
    memory: int
    share_memory: bool
    rwdir: Path
    console: Path
    environment: Mapping[str, str]
    kernel_options: Sequence[str]
    qemu_options: Sequence[str]


MEMORY = {
    True: "memory-backend-memfd,share=on",  # a vfio-user server gets a descriptor of what the guest maps for DMA
    # None. A memfd that is not shared has one, too, and QEMU passes it on: the server would look at pages that the
    # guest has copies of.
    False: "memory-backend-ram",
}


def command(platform: Platform, shape: Shape) -> list[str]:
    """The guest's command line; NotProvisioned where pieces are missing."""
    pieces = find()
    # On a busy host the emulated timer may miss the moment in which the kernel tries it, and that is a panic.
    line = kernel_line(platform, shape, "ttyS0", sys.executable, str(HERE / "guest_init.py"), "no_timer_check")
    return [
        str(pieces.qemu),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35,accel=tcg,kernel-irqchip=split,memory-backend=ram"),
        # `max` has RDRAND: without it Python's first random number waits for the guest's entropy.
        *("-cpu", "max,la57=off", "-smp", str(shape.cpus), "-m", f"{shape.memory}M"),
        *("-object", f"{MEMORY[shape.share_memory]},id=ram,size={shape.memory}M"),
        *(("-device", platform.iommu) if platform.iommu else ()),
        *("-kernel", str(pieces.kernel), "-append", line),
        *("-serial", f"file:{quoted(shape.console)}"),
        *folder("hostroot", Path("/"), slot=2, readonly=True),
        *folder("rwdir", shape.rwdir, slot=3, readonly=False),
        *shape.qemu_options,
    ]


def wire(descriptor: int) -> list[str]:
    """The options for the agent's port, with the lab at the other end of an inherited socket."""
    port = f"virtserialport,chardev=lab,name={PORT}"
    return ["-device", "virtio-serial-pci,addr=4.0", "-chardev", f"socket,id=lab,fd={descriptor}", "-device", port]


def kernel_line(platform: Platform, shape: Shape, console: str, python: str, program: str, *more: str) -> str:
    """The kernel's arguments. Its first process is ``python`` with ``program``."""
    words = [
        *("root=hostroot", "rootfstype=9p", "ro"),
        # The host's files do not change under a guest that lives for seconds, so it may keep what it has read.
        "rootflags=trans=virtio,version=9p2000.L,msize=262144,cache=loose",
        *(f"console={console}", "loglevel=7", "panic=-1"),
        # The deny list keeps vfio-pci off 8086:0b25 and 8086:0cfe, two of the functions we are here for.
        "vfio_pci.disable_denylist=1",
        *more,
        *platform.kernel,
        *shape.kernel_options,
        f"init={python}",
        # What the kernel does not know and has no dot in its name becomes the first process's environment.
        *(f"{name}={value}" for name, value in shape.environment.items()),
        *("--", "-S", "-E", program),
    ]
    for word in words:
        if any(character in word for character in ' "\n'):
            raise LabError(f"the kernel's command line cannot hold {word!r}: use paths without spaces and quotes")
    return " ".join(words)


def folder(tag: str, path: Path, *, slot: int, readonly: bool) -> list[str]:
    access = "on" if readonly else "off"
    backend = f"local,id={tag},path={quoted(path)},security_model=none,multidevs=remap,readonly={access}"
    return ["-fsdev", backend, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag},addr={slot}.0"]


def quoted(path: Path) -> str:
    """A path inside one of QEMU's comma-separated options."""
    return str(path).replace(",", ",,")
