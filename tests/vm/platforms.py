# SPDX-License-Identifier: Apache-2.0
"""The machines a guest can be: what QEMU emulates, the kernel's arguments, where the PCI functions sit."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Function: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
"""A PCI function for the guest: the socket of a vfio-user server, or QEMU's own `-device` as a JSON object."""

FIRST_SLOT = 0x10  # the lab's own devices take the low slots of bus 0
SOUTHBRIDGE = "14.0"
ARM64 = "aarch64"
CLASS_ISA_BRIDGE = 0x060100


@dataclass(frozen=True, slots=True)
class Platform:
    """One kind of machine. `remaps` and `chip` say what a guest on it must show, so that tests can ask for it."""

    name: str
    iommu: str
    kernel: tuple[str, ...] = ()
    remaps: bool = True
    chip: str = ""
    architecture: str = "x86_64"
    page: int = 4
    """KiB of a page of an arm64 machine's kernel."""
    its_device_0: bool = False
    """Of an arm64 machine: messages that vfio-user servers write arrive, and those of the functions' MSI-X do not. QEMU
    gives the former no requester, which is DeviceID 0 for the ITS, so the device tree says that this is theirs."""
    southbridge: bool = False
    """The first vfio-user function goes to 00:14.0 and claims to be an ISA bridge. Linux accepts an AMD machine's
    interrupt remapping only where a southbridge answers at the IOAPIC's requester id, and QEMU attributes every
    message that a vfio-user server writes to that same id: so IMS works there and nowhere else on this platform."""

    def place(self, functions: Sequence[Function]) -> tuple[list[str], list[str]]:
        """Seats the functions; returns QEMU's options and the addresses of those on bus 0, in the order given."""
        options: list[str] = []
        addresses: list[str] = []
        free = FIRST_SLOT
        seat_taken = False
        for function in functions:
            device = _as_device(function)
            if self.southbridge and not seat_taken and device["driver"] == "vfio-user-pci" and "addr" not in device:
                device |= {"addr": SOUTHBRIDGE, "x-pci-class-code": CLASS_ISA_BRIDGE}
                seat_taken = True
            if "addr" not in device:
                free += self.southbridge and f"{free:x}.0" == SOUTHBRIDGE
                device["addr"] = f"{free:x}.0"
                free += 1
            options += ["-device", json.dumps(device)]
            if "bus" not in device:  # behind a bridge, only the guest knows the bus number
                addresses.append(_address(str(device["addr"])))
        if self.southbridge and not seat_taken:
            options += _southbridge_stand_in()
        return options, addresses


def _as_device(function: Function) -> dict[str, Any]:
    if isinstance(function, Mapping):
        return dict(function)
    path = Path(function).absolute()
    return {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(path)}}


def _address(addr: str) -> str:
    slot, _, number = addr.partition(".")
    return f"0000:00:{int(slot, 16):02x}.{int(number or '0', 16):x}"


def _southbridge_stand_in() -> list[str]:
    # The one function of QEMU's whose class can be set freely; the kernel has no driver for it.
    backend = {"driver": "null-co", "node-name": "nothing", "size": 1 << 20, "read-zeroes": True}
    device = {"driver": "virtio-blk-pci", "drive": "nothing", "addr": SOUTHBRIDGE, "class": CLASS_ISA_BRIDGE >> 8}
    return ["-blockdev", json.dumps(backend), "-device", json.dumps(device)]


INTEL = Platform(
    name="intel",
    # Caching mode makes the guest announce every mapping, which is how it reaches a vfio-user server.
    iommu="intel-iommu,intremap=on,caching-mode=on",
    kernel=("intel_iommu=on,sm_off",),
    chip="IR-PCI-MSIX",
)
INTEL_SCALABLE = Platform(
    name="intel-scalable",
    # Without first-stage tables (fsts=on): QEMU announces mappings of those only when a function changes its domain.
    iommu="intel-iommu,intremap=on,caching-mode=on,scalable-mode=on,pasid-bits=20",
    kernel=("intel_iommu=on,sm_on",),
    chip="IR-PCI-MSIX",
)
AMD = Platform(
    name="amd",
    iommu="amd-iommu,intremap=on,dma-remap=on",
    chip="IR-PCI-MSIX",
    southbridge=True,
)
AMD_X2APIC = dataclasses.replace(AMD, name="amd-x2apic", iommu=f"{AMD.iommu},xtsup=on")
"""Remapping entries of 128 bits, with 32-bit APIC ids (Linux drivers/iommu/amd/init.c, "x2apic enabled")."""
INTEL_NOREMAP = Platform(
    name="intel-noremap",
    iommu="intel-iommu,intremap=off,caching-mode=on",
    kernel=(
        "intel_iommu=on,sm_off",
        "vfio_iommu_type1.allow_unsafe_interrupts=1",
        "iommufd.allow_unsafe_interrupts=1",
    ),
    remaps=False,
    chip="PCI-MSIX",
)

NO_IOMMU = Platform(
    name="no-iommu",
    iommu="",
    kernel=("vfio.enable_unsafe_noiommu_mode=1",),
    remaps=False,
    chip="PCI-MSIX",
)
"""As most virtual machines come: nothing stands between a function and memory."""

VIRT = Platform(
    name="arm64",
    iommu="virtio-iommu-pci,addr=1.0",
    chip="ITS-PCI-MSIX",
    architecture=ARM64,
    its_device_0=True,
)
"""A GICv3 with an ITS, behind a virtio-iommu."""
VIRT_MSIX = dataclasses.replace(VIRT, name="arm64-msix", its_device_0=False)
"""The same, where the functions' MSI-X arrives and the messages in their IMS do not."""
VIRT_16K, VIRT_64K = (dataclasses.replace(VIRT, name=f"arm64-{page}k", page=page) for page in (16, 64))
"""The first, with larger pages."""

PLATFORMS: Mapping[str, Platform] = {p.name: p for p in (INTEL, INTEL_SCALABLE, AMD, INTEL_NOREMAP)}
"""PCs, over this machine's own root."""
ARM64_PLATFORMS: Mapping[str, Platform] = {p.name: p for p in (VIRT, VIRT_MSIX, VIRT_16K, VIRT_64K)}
