# SPDX-License-Identifier: Apache-2.0
"""``decode``: all capabilities of a config space, with what is wrong beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from vfio_ims.counted import counted
from vfio_ims.pci.capabilities.base import HEAD, Capability, ExtendedCapability, StandardCapability
from vfio_ims.pci.capabilities.diagnosis import Diagnosis, Fault
from vfio_ims.pci.capabilities.dvsec import Dvsec, SiovDvsec
from vfio_ims.pci.capabilities.errors import AdvancedErrorReporting
from vfio_ims.pci.capabilities.express import Express
from vfio_ims.pci.capabilities.interrupts import Msi, Msix
from vfio_ims.pci.capabilities.power import PowerManagement
from vfio_ims.pci.capabilities.translation import AddressTranslation, PageRequest, Pasid
from vfio_ims.pci.capabilities.vendor import ModelMark
from vfio_ims.pci.capabilities.virtual import ScalableIov, SrIov
from vfio_ims.pci.capabilities.walk import walk_extended, walk_standard
from vfio_ims.pci.config import STANDARD_SIZE, ConfigSource, ConfigSpace

__all__ = ["Capabilities", "decode", "is_model"]

C = TypeVar("C", bound=Capability)


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of one function, in the order of their lists, and what is wrong with them."""

    config: ConfigSpace
    standard: tuple[Capability, ...] = ()
    extended: tuple[Capability, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()

    def __iter__(self) -> Iterator[Capability]:
        yield from self.standard
        yield from self.extended

    def __len__(self) -> int:
        return len(self.standard) + len(self.extended)

    @property
    def source(self) -> ConfigSource:
        """Who answered."""
        return self.config.source

    @property
    def complete(self) -> bool:
        """Whether a capability that is not here is not in the device either, as far as its lists show."""
        broken = any(item.fault is not Fault.CONTENT for item in self.diagnoses)
        return self.config.standard_readable and not self.source.hides and not broken and not self.extended_unread

    @property
    def extended_unread(self) -> bool:
        """Whether the function has PCI Express, and so an extended space, that was not read."""
        return self.express is not None and not self.config.extended_readable

    def find(self, kind: type[C]) -> C | None:
        """The first capability of this class, or None."""
        return next((item for item in self if isinstance(item, kind)), None)

    def find_all(self, kind: type[C]) -> tuple[C, ...]:
        """Every capability of this class."""
        return tuple(item for item in self if isinstance(item, kind))

    def by_id(self, number: int, *, extended: bool) -> tuple[Capability, ...]:
        """Every capability with this id, known or not, whole or cut short."""
        return tuple(item for item in (self.extended if extended else self.standard) if item.id == number)

    def at(self, offset: int) -> Capability | None:
        """The capability that starts at ``offset``."""
        return next((item for item in self if item.offset == offset), None)

    @property
    def pm(self) -> PowerManagement | None:
        """Power management (capability 0x01): D-states, No_Soft_Reset."""
        return self.find(PowerManagement)

    @property
    def msi(self) -> Msi | None:
        """MSI (0x05), as config space shows it: through VFIO that is the user's copy, not the kernel's message."""
        return self.find(Msi)

    @property
    def msix(self) -> Msix | None:
        """MSI-X (0x11): how many vectors, and in which BAR table and pending bits are."""
        return self.find(Msix)

    @property
    def express(self) -> Express | None:
        """PCI Express (0x10): kind of device, link, function-level reset."""
        return self.find(Express)

    @property
    def aer(self) -> AdvancedErrorReporting | None:
        """Advanced Error Reporting (extended 0x0001)."""
        return self.find(AdvancedErrorReporting)

    @property
    def ats(self) -> AddressTranslation | None:
        """Address Translation Services (extended 0x000f)."""
        return self.find(AddressTranslation)

    @property
    def pri(self) -> PageRequest | None:
        """Page Request Interface (extended 0x0013)."""
        return self.find(PageRequest)

    @property
    def pasid(self) -> Pasid | None:
        """None says little where the source hides it: see ``complete``."""
        return self.find(Pasid)

    @property
    def sriov(self) -> SrIov | None:
        """SR-IOV (extended 0x0010), in a physical function."""
        return self.find(SrIov)

    @property
    def siov(self) -> ScalableIov | None:
        """The SIOV capability of PCIe 7.0, which is not Intel's DVSEC."""
        return self.find(ScalableIov)

    @property
    def dvsecs(self) -> tuple[Dvsec, ...]:
        """Every designated vendor-specific capability (extended 0x0023), of any vendor."""
        return self.find_all(Dvsec)

    @property
    def siov_dvsec(self) -> SiovDvsec | None:
        """Intel's DVSEC for Scalable IOV, wherever it stands among the others."""
        return self.find(SiovDvsec)

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "source": str(self.source),
            "readable": len(self.config),
            "complete": self.complete,
            "capabilities": [item.to_json() for item in self],
            "diagnoses": [{"fault": str(d.fault), "offset": d.offset, "text": d.text} for d in self.diagnoses],
        }


def decode(config: ConfigSpace) -> Capabilities:
    """Find and decode every capability. Never raises: damage is in ``diagnoses``, beside whatever could be decoded."""
    if config.absent:
        why = Diagnosis(Fault.ABSENT, 0, "vendor id reads as all ones: the function is gone, in reset or powered off")
        return Capabilities(config, diagnoses=(why,))
    faults: list[Diagnosis] = []
    standard, extended = walk_standard(config, faults), walk_extended(config, faults)
    starts = sorted({*standard, *extended})
    found = [[_one(config, at, base, starts, faults) for at in offsets] for base, offsets in _lists(standard, extended)]
    return Capabilities(config, tuple(found[0]), tuple(found[1]), tuple(faults))


def _lists(standard: list[int], extended: list[int]) -> tuple[tuple[type[Capability], list[int]], ...]:
    return (StandardCapability, standard), (ExtendedCapability, extended)


def _one(
    config: ConfigSpace, at: int, base: type[Capability], starts: list[int], faults: list[Diagnosis]
) -> Capability:
    limit = len(config) if base.extended else STANDARD_SIZE
    head = config.bytes_at(at, min(at + HEAD, limit))
    number = int.from_bytes(head[: 2 if base.extended else 1], "little")
    kind = Capability.kinds.get((base.extended, number), base).refine(head)
    needed, wanted = kind.extent(head)
    follower = next((start for start in starts if start > at), limit)
    if at + needed > limit:
        why = f"{kind.__name__} of {counted(needed, 'byte')} runs past the end of what could be read, {limit:#x}"
        faults.append(Diagnosis(Fault.PAST_END, at, why))
    if follower < min(at + needed, limit):
        why = f"{kind.__name__} of {counted(needed, 'byte')} overlaps the capability at {follower:#x}"
        faults.append(Diagnosis(Fault.OVERLAP, at, why))
    data = config.bytes_at(at, min(at + max(needed, min(wanted, follower - at)), limit))
    capability = (kind if len(data) >= kind.minimum else base)(data, at, str(config.source))
    faults.extend(Diagnosis(Fault.CONTENT, at, text) for text in capability.problems())
    return capability


def is_model(capabilities: Capabilities) -> ModelMark | None:
    """The mark of one of this project's device models, or None: then treat it as silicon."""
    return capabilities.find(ModelMark)
