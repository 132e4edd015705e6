# SPDX-License-Identifier: Apache-2.0
"""May this device use IMS here, and why: a chain of links, each with its evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError, explain_unknown
from vfio_ims.ims.sharing import carried
from vfio_ims.messages import Message, MessageLimits
from vfio_ims.pci.support_hints import ims_hint
from vfio_ims.ports.values import Evidence, IrqIndex

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ims.table import ImsTable
    from vfio_ims.interrupts.msi import MsiVectors
    from vfio_ims.interrupts.msix import MsixVectors
    from vfio_ims.pci.capabilities import Capabilities

__all__ = ["ImsVerdict", "VerdictLink", "hint_links", "judge"]


@dataclass(frozen=True, slots=True)
class VerdictLink:
    """One link of the chain. ``asked`` False: not looked at. ``required``: without it IMS interrupts cannot work."""

    name: str
    evidence: Evidence
    required: bool = False
    asked: bool = True

    @property
    def word(self) -> str:
        """The answer as a word: "yes", "no", "unknown" or "not asked"."""
        if not self.asked:
            return "not asked"
        return {True: "yes", False: "no", None: "unknown"}[self.evidence.answer]

    def __str__(self) -> str:
        hint = ""
        if self.evidence.to_find_out and self.word != "yes":
            hint = f" ({'what helps' if self.word == 'no' else 'to find out'}: {self.evidence.to_find_out})"
        return f"{self.name}: {self.word}, {self.evidence.text}{hint}"


@dataclass(frozen=True, slots=True)
class ImsVerdict:
    """The whole chain. ``slots`` and ``donors`` are 0 where they are not known.

    ``donors``: how many vectors can be donors together, under the limits of the table. ``stable``: a vector that moves
    to another CPU is known to keep its message.
    """

    device: str
    links: tuple[VerdictLink, ...]
    slots: int = 0
    donors: int = 0
    stable: bool = False

    @property
    def usable(self) -> bool | None:
        """Yes when every required link holds, no when one does not, None when one is unknown or was not asked."""
        answers = [link.evidence.answer if link.asked else None for link in self.links if link.required]
        if False in answers:
            return False
        return None if None in answers or not answers else True

    @property
    def broken(self) -> tuple[VerdictLink, ...]:
        """The required links that do not hold or are not known."""
        return tuple(
            link for link in self.links if link.required and (not link.asked or link.evidence.answer is not True)
        )

    def link(self, name: str) -> VerdictLink:
        """The link called ``name``, such as "interrupt remapping".

        Raises UsageError for one that the chain does not have.
        """
        for link in self.links:
            if link.name == name:
                return link
        raise UsageError("look up a link", why=explain_unknown("link", name, [link.name for link in self.links]))

    def __str__(self) -> str:
        if self.usable:
            remapping = self.link("interrupt remapping").word
            off = "OFF: slots are rewritten when a vector moves"
            if self.stable:
                off = "OFF: any function can raise these interrupts"
            state = {"yes": "on", "no": off}.get(remapping, "unknown")
            return f"IMS usable: {counted(self.slots, 'slot')}, {counted(self.donors, 'donor')}, remapping {state}"
        if self.usable is False:
            return "IMS unusable: " + "; ".join(str(link) for link in self.broken if link.evidence.answer is False)
        return "IMS unknown: " + "; ".join(map(str, self.broken or self.links))


def hint_links(capabilities: Capabilities) -> list[VerdictLink]:
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
        present = Evidence(None, hint.text, hint.to_find_out)
    return [VerdictLink("SIOV DVSEC", present), VerdictLink("IMS bit", hint)]


def judge(device: Device, table: ImsTable | None, reserved: Collection[int] = ()) -> ImsVerdict:
    """Ask an open ``device``, with the ``table`` that its driver found (None: the driver has no table)."""
    links = hint_links(device.capabilities)
    size = 0 if table is None else table.size
    found = Evidence(
        size > 0, f"the driver read a table of {counted(size, 'slot')}" if size else "the driver found no slot table"
    )
    links.append(VerdictLink("slot table", found, required=True))
    source, limits = device.interrupts.donors.source, MessageLimits() if table is None else table.limits
    links.append(_readable_link(source))
    kept = set(reserved)
    eligible = [vector for vector in range(source.count) if vector not in kept]
    donors, text, seen = _usable_donors(device, eligible, limits, source.readable)
    kept_text = f", {len(kept)} reserved by the driver" if kept else ""
    links.append(
        VerdictLink(
            "donors",
            Evidence(donors > 0, f"{donors} of {counted(source.count, 'vector')}{kept_text}{text}"),
            required=True,
        )
    )
    remapping = device.port.interrupt_remapping()
    if limits.one_address and seen:
        registers, msi = len(set(limits.address_groups)) or 1, source.index is IrqIndex.MSI
        shared = carried(seen, registers, msi=msi)
        links.append(VerdictLink("shared address", shared))
    links.append(VerdictLink("interrupt remapping", remapping))
    if source.index is IrqIndex.MSIX:
        growth = "vectors are added one at a time" if source.dynamic else "all vectors are taken up front (NORESIZE)"
        links.append(VerdictLink("dynamic MSI-X", Evidence(source.dynamic, growth, "Linux 6.5 or later")))
    stable = device.port.message_platform().moves is False
    return ImsVerdict(device.name, tuple(links), size, donors, stable)


def _readable_link(source: MsixVectors | MsiVectors) -> VerdictLink:
    """Whether the messages of the vectors can be read: without that none can be copied."""
    if source.index is IrqIndex.MSI:
        text, would = "the kernel's own MSI registers can be read", ""
        if not source.readable:
            missing = source.unreadable()
            text, would = missing.why, missing.hint
        return VerdictLink("MSI message readable", Evidence(source.readable, text, would), required=True)
    readable, text, would = False, "the function has no MSI-X", ""
    if source.count:
        readable = source.readable
        text = "the table's messages can be read"
        if not readable:
            missing = source.unreadable()
            text, would = missing.why, missing.hint
    return VerdictLink("MSI-X table mappable", Evidence(readable, text, would), required=True)


def _usable_donors(
    device: Device, eligible: list[int], limits: MessageLimits, readable: bool
) -> tuple[int, str, Collection[Message]]:
    """How many of ``eligible`` vectors can be donors together, and why not all; the messages that were looked at.

    Where ``limits`` leave some messages out, they have to be seen: free vectors are attached for a moment.
    """
    pool = device.interrupts.donors
    busy = pool.taken_by_application(eligible)
    count, text = len(eligible) - len(busy), f", {len(busy)} in use by the application" if busy else ""
    if limits == MessageLimits() or not readable:
        return count, text, ()
    seen = pool.messages(eligible)
    fit = {vector: message for vector, message in seen.items() if limits.refusal(message) is None}
    if len(fit) < len(seen):
        refused = next(message for vector, message in seen.items() if vector not in fit)
        text += f", {len(seen) - len(fit)} do not fit ({limits.refusal(refused)})"
    usable = len(fit)
    if limits.one_address and fit:
        addresses = Counter(message.address for message in fit.values())
        registers = len(set(limits.address_groups)) or 1
        usable = sum(count for _, count in addresses.most_common(registers))
        if len(addresses) > registers:
            what = "one address for all" if registers == 1 else f"{registers} address registers"
            text += f": the table has {what}, and their messages have {len(addresses)}"
    if len(seen) < count:
        text += f"; {count - len(seen)} could not be looked at"
    return usable, text, tuple(fit.values())
