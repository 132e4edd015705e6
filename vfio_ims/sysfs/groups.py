# SPDX-License-Identifier: Apache-2.0
"""IOMMU groups: what can only be handed out together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.pci import PciAddress
from vfio_ims.sysfs.attributes import SYS, entries, read_text

if TYPE_CHECKING:
    from vfio_ims.sysfs.function import Function

__all__ = ["IommuGroup", "ReservedRegion"]


@dataclass(frozen=True, slots=True)
class ReservedRegion:
    """I/O virtual addresses that must not be handed out, both ends included; ``kind`` such as "direct" or "msi"."""

    start: int
    last: int
    kind: str


@dataclass(frozen=True)
class IommuGroup:
    """One group. Reads happen once, when asked for."""

    number: int
    root: Path = SYS

    @property
    def path(self) -> Path:
        """Its directory in sysfs."""
        return self.root / "kernel/iommu_groups" / str(self.number)

    @cached_property
    def members(self) -> tuple[Function, ...]:
        """The PCI functions in it, by address. Devices of other buses are in ``others``."""
        from vfio_ims.sysfs.function import Function

        found = [PciAddress.parse(name) for name in entries(self.path / "devices") if PciAddress.looks_like(name)]
        return tuple(Function(address, self.root) for address in sorted(found))

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Names of members that are no PCI functions."""
        return tuple(name for name in entries(self.path / "devices") if not PciAddress.looks_like(name))

    @cached_property
    def domain_type(self) -> str | None:
        """The default domain: "DMA", "DMA-FQ" or "identity"."""
        return read_text(self.path / "type")

    @cached_property
    def without_iommu(self) -> bool:
        """Whether VFIO made it for a device that no IOMMU guards."""
        return read_text(self.path / "name") == "vfio-noiommu"

    @cached_property
    def reserved(self) -> tuple[ReservedRegion, ...]:
        """Regions that the IOMMU or firmware keeps."""
        found = []
        for line in (read_text(self.path / "reserved_regions") or "").splitlines():
            words = line.split()
            try:
                found.append(ReservedRegion(int(words[0], 16), int(words[1], 16), " ".join(words[2:])))
            except (ValueError, IndexError):
                continue
        return tuple(found)
