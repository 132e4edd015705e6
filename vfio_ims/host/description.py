# SPDX-License-Identifier: Apache-2.0
"""One device described: from sysfs, which disturbs nothing, or from an open device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.ims.verdict import ImsVerdict, VerdictLink, hint_links
from vfio_ims.pci import BaseAddress, Capabilities, ConfigSpace, class_name, decode
from vfio_ims.ports.values import Evidence, IrqFlags, IrqIndex
from vfio_ims.sysfs.message_platform import message_platform
from vfio_ims.sysfs.remapping import interrupt_remapping

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.driver import Driver
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["Description", "describe", "describe_live"]


@dataclass(frozen=True)
class Description:
    """Identity, BARs, capabilities, interrupts and the IMS verdict. ``facts`` are name and text, in order."""

    name: str
    config: ConfigSpace
    capabilities: Capabilities
    bars: tuple[BaseAddress, ...]
    interrupts: tuple[tuple[str, str], ...]
    verdict: ImsVerdict
    facts: tuple[tuple[str, str], ...] = field(default=())

    def to_json(self) -> dict[str, object]:
        """Plain values; see docs/json.md."""
        header = self.config.header
        return {
            "device": self.name,
            "id": f"{header.vendor:04x}:{header.device:04x}",
            "class": f"{header.class_code:06x}",
            "class_name": class_name(header.class_code),
            "facts": dict(self.facts),
            "bars": [
                {"index": bar.index, "kind": str(bar.kind), "prefetchable": bar.prefetchable, "size": bar.size}
                for bar in self.bars
            ],
            "interrupts": dict(self.interrupts),
            **self.capabilities.to_json(),
            "verdict": {
                "usable": self.verdict.usable,
                "slots": self.verdict.slots,
                "donors": self.verdict.donors,
                "links": [
                    {
                        "name": link.name,
                        "answer": link.word,
                        "evidence": link.evidence.text,
                        "to_find_out": link.evidence.to_find_out,
                        "required": link.required,
                    }
                    for link in self.verdict.links
                ],
            },
        }


def _identity(config: ConfigSpace) -> list[tuple[str, str]]:
    header = config.header
    facts = [
        ("id", f"{header.vendor:04x}:{header.device:04x} (rev {header.revision:02x})"),
        ("class", f"{header.class_code:06x}, {class_name(header.class_code)}"),
    ]
    if header.subsystem_vendor:
        facts.append(("subsystem", f"{header.subsystem_vendor:04x}:{header.subsystem_device or 0:04x}"))
    return facts


def describe(function: Function, machine: Machine | None = None) -> Description | None:
    """From sysfs, without opening the device; None where not even its header can be read.

    With its ``machine``: its name, its state, and the next step, too.
    """
    config, capabilities = function.config, function.capabilities
    if config is None or capabilities is None:
        return None
    group = function.iommu_group
    others = [] if group is None else [str(one) for one in group.members if one.address != function.address]
    company = f" with {', '.join(others)}" if others else ""
    optional = {
        "driver": function.driver,
        "driver_override": function.driver_override,
        "IOMMU group": None if group is None else f"{group.number}{company}",
        "NUMA node": None if function.numa_node is None else str(function.numa_node),
        "power": function.power_state,
        "link": None if function.link is None else str(function.link),
        "reset": ", ".join(function.reset_methods) if function.reset_methods else None,
        "messages": str(message_platform(function)) if function.iommu_group is not None else None,
        "kernel names": ", ".join(function.names) or None,
    }
    standing = {} if machine is None else _standing(function, machine)
    known = (*standing.items(), *optional.items())
    facts = [*_identity(config), *((name, text) for name, text in known if text)]
    return Description(
        str(function),
        config,
        capabilities,
        function.bars,
        tuple(_interrupts_on_paper(capabilities, config)),
        _verdict_on_paper(function, capabilities),
        tuple(facts),
    )


def _standing(function: Function, machine: Machine) -> dict[str, str | None]:
    """How far it is from being opened."""
    from vfio_ims.host.idnames import names_of
    from vfio_ims.host.survey import Survey

    found = Survey(machine).candidate(function, names_of((function,), machine).get(function.id or ""))
    return {
        "name": found.title,
        "family": None if found.family is None else found.family.name,
        "state": f"{found.state}: {found.why}",
        "next": found.next,
        "node": found.node,
    }


def _interrupts_on_paper(capabilities: Capabilities, config: ConfigSpace) -> list[tuple[str, str]]:
    found = []
    if config.header.interrupt_pin:
        found.append(("INTx", f"pin {config.header.interrupt_pin}"))
    if capabilities.msi is not None:
        found.append(("MSI", f"{counted(capabilities.msi.vectors, 'vector')}"))
    msix = capabilities.msix
    if msix is not None:
        bar, offset = msix.table
        found.append(("MSI-X", f"{counted(msix.vectors, 'vector')}, table in BAR{bar} at {offset:#x}"))
    return found


_UNASKED = Evidence(None, "the device was not opened", "vfio-ims show --live")


def _verdict_on_paper(function: Function, capabilities: Capabilities) -> ImsVerdict:
    links = hint_links(capabilities)
    msix = capabilities.msix
    hopeless = msix is None and capabilities.config.standard_readable
    unasked = Evidence(None, _UNASKED.text) if hopeless else _UNASKED
    for name in ("slot table", "MSI-X table mappable", "dynamic MSI-X"):
        links.append(VerdictLink(name, unasked, required=name != "dynamic MSI-X", asked=False))
    if msix is not None:
        text = (
            f"up to {counted(msix.vectors, 'MSI-X vector')}: its driver knows how many of them its slot table can use"
        )
        links.append(VerdictLink("donors", Evidence(True, text, "vfio-ims show --live"), required=True))
    elif capabilities.config.standard_readable:
        links.append(VerdictLink("donors", Evidence(False, "the function has no MSI-X"), required=True))
    else:
        unseen = Evidence(
            None,
            f"only {counted(len(capabilities.config), 'byte')} of config space could be read",
            "reading it as root",
        )
        links.append(VerdictLink("donors", unseen, required=True))
    links.append(VerdictLink("interrupt remapping", interrupt_remapping(function)))
    return ImsVerdict(str(function), tuple(links))


def describe_live(device: Device, driver: Driver | None) -> Description:
    """From an open device, and what its driver found (None: no family knows it)."""
    config = device.config.snapshot()
    capabilities = decode(config)
    sizes = {index: device.port.region_info(index).size for index in range(6)}
    facts = [*_identity(config), ("mount", device.mount), ("reset", "yes" if device.can_reset else "none")]
    if driver is not None:
        facts += [("our driver", type(driver).__name__), *driver.details()]
        verdict = driver.verdict
    else:
        from vfio_ims.ims.verdict import judge

        verdict = judge(device, None)
    facts.append(
        ("messages", str(device.port.message_platform()))
    )  # a kernel knows it by now: the verdict took vectors
    return Description(
        device.name,
        config,
        capabilities,
        config.bars(sizes=sizes),
        tuple(_interrupts_live(device)),
        verdict,
        tuple(facts),
    )


def _interrupts_live(device: Device) -> list[tuple[str, str]]:
    found = []
    for index in IrqIndex:
        info = device.port.irq_info(index)
        if info.count:
            growth = ""
            if index == IrqIndex.MSIX:
                growth = ", fixed once enabled" if info.flags & IrqFlags.NORESIZE else ", added one at a time"
                place = device.msix_table
                growth += f", table in BAR{place[0]} at {place[1].offset:#x}" if place is not None else ""
            name = {IrqIndex.INTX: "INTx", IrqIndex.MSIX: "MSI-X"}.get(index, index.name)
            found.append((name, f"{counted(info.count, 'vector')}{growth}"))
    return found
