# SPDX-License-Identifier: Apache-2.0
"""May this device use IMS here, and why: a chain of links, each with its evidence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfio_ims.pci.siov import ims_hint
from vfio_ims.ports.values import Evidence

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ims.table import ImsTable
    from vfio_ims.pci.capabilities import Capabilities

__all__ = ["ImsVerdict", "Link", "hint_links", "judge"]


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain. ``asked`` False: nobody looked. ``required``: without it IMS interrupts cannot work."""

    name: str
    evidence: Evidence
    required: bool = False
    asked: bool = True

    @property
    def word(self) -> str:
        if not self.asked:
            return "not asked"
        return {True: "yes", False: "no", None: "unknown"}[self.evidence.answer]

    def __str__(self) -> str:
        tell = f" (would tell: {self.evidence.would_tell})" if self.evidence.would_tell and self.word != "yes" else ""
        return f"{self.name}: {self.word}, {self.evidence.text}{tell}"


@dataclass(frozen=True, slots=True)
class ImsVerdict:
    """The whole chain. ``slots`` and ``donors`` are 0 where they are not known."""

    device: str
    links: tuple[Link, ...]
    slots: int = 0
    donors: int = 0

    @property
    def usable(self) -> bool | None:
        """Yes when every required link holds, no when one does not, None when one is unknown or was not asked."""
        answers = [link.evidence.answer if link.asked else None for link in self.links if link.required]
        if False in answers:
            return False
        return None if None in answers or not answers else True

    @property
    def broken(self) -> tuple[Link, ...]:
        """The required links that do not hold or are not known."""
        return tuple(
            link for link in self.links if link.required and (not link.asked or link.evidence.answer is not True)
        )

    def link(self, name: str) -> Link:
        return next(link for link in self.links if link.name == name)

    def __str__(self) -> str:
        if self.usable:
            remapping = self.link("interrupt remapping").word
            state = {"yes": "on", "no": "OFF: slots are rewritten when a vector moves"}.get(remapping, "unknown")
            return f"IMS usable: {self.slots} slots, {self.donors} donors, remapping {state}"
        if self.usable is False:
            return "IMS unusable: " + "; ".join(str(link) for link in self.broken if link.evidence.answer is False)
        return "IMS unknown: " + "; ".join(map(str, self.broken or self.links))


def hint_links(capabilities: Capabilities) -> list[Link]:
    """What config space says: the DVSEC and its bit. A hint: a driver that knows better may say so."""
    dvsec = capabilities.siov_dvsec
    hint = ims_hint(capabilities)
    if dvsec is not None:
        present = Evidence(True, f"Intel's, at {dvsec.offset:#x} (read from {capabilities.source})")
    elif capabilities.complete:
        others = len(capabilities.dvsecs)
        among = f"none of its {others} DVSECs is Intel's for SIOV" if others else "config space has no DVSEC at all"
        present = Evidence(False, f"{among} (read from {capabilities.source})")
    else:
        present = Evidence(None, hint.text, hint.would_tell)
    return [Link("SIOV DVSEC", present), Link("IMS bit", hint)]


def judge(device: Device, table: ImsTable | None, reserved: Collection[int] = ()) -> ImsVerdict:
    """Ask an open ``device``, with the ``table`` that its driver found (None: the driver has no table)."""
    links = hint_links(device.capabilities)
    size = 0 if table is None else table.size
    told = Evidence(size > 0, f"the driver read a table of {size} slots" if size else "the driver found no slot table")
    links.append(Link("slot table", told, required=True))
    msix = device.interrupts.msix
    if msix.count:
        mappable = msix.readable
        text = (
            "the table's messages can be read"
            if mappable
            else "the table cannot be mapped, so its messages stay unseen"
        )
    else:
        mappable, text = False, "the function has no MSI-X"
    links.append(Link("MSI-X table mappable", Evidence(mappable, text, "Linux 4.16 or later"), required=True))
    donors = sum(1 for vector in range(msix.count) if vector not in set(reserved))
    kept = f", {len(set(reserved))} reserved by the driver" if reserved else ""
    links.append(Link("donors", Evidence(donors > 0, f"{donors} of {msix.count} vectors{kept}"), required=True))
    links.append(Link("interrupt remapping", device.port.interrupt_remapping()))
    growth = "vectors are added one at a time" if msix.dynamic else "all vectors are taken up front (NORESIZE)"
    links.append(Link("dynamic MSI-X", Evidence(msix.dynamic, growth, "Linux 6.5 or later")))
    return ImsVerdict(device.name, tuple(links), size, donors)
