# SPDX-License-Identifier: Apache-2.0
"""Resets a device in the ways that there are, and looks whether it came back as it should."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vfio_ims.errors import UnsupportedError, VfioImsError
from vfio_ims.host.register_access import OpenRegisters
from vfio_ims.host.register_names import Place
from vfio_ims.ports.values import AffectedFunction, ResetMethod

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.registers import Block, Register

__all__ = ["ORDER", "Attempt", "Before", "Finding", "affected", "attempt", "verify"]

ORDER = (ResetMethod.FUNCTION, ResetMethod.HOT, ResetMethod.D3)
_NAMED = 8  # registers that a finding names
_BARS = range(0x10, 0x28, 4)  # PCI base spec 6.0, 7.5.1.2.1: six base address registers


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to reset: whether it was done, else what the kernel, or the function, has against it."""

    method: ResetMethod
    done: bool
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; see docs/json.md."""
        return {"method": self.method.value, "done": self.done, "why": self.why}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a reset must bring back: ``ok`` is None where it could not be looked at."""

    check: str
    ok: bool | None
    text: str

    def to_json(self) -> dict[str, Any]:
        """Plain values; see docs/json.md."""
        return {"check": self.check, "ok": self.ok, "text": self.text}


def affected(device: Device) -> tuple[AffectedFunction, ...]:
    """The other functions that a hot reset takes along; none where there is no hot reset."""
    try:
        return tuple(one for one in device.hot_reset_scope() if one.address != device.name.partition(",")[0])
    except UnsupportedError:
        return ()


def attempt(device: Device, method: ResetMethod) -> Attempt:
    """Reset ``device`` in this way. A refusal is an answer, not an error."""
    try:
        device.reset(method)
    except VfioImsError as refusal:
        said = os.strerror(refusal.errno) if refusal.errno else ""
        return Attempt(method, False, ": ".join(part for part in (refusal.why, said) if part) or str(refusal))
    return Attempt(method, True)


def _identity(device: Device) -> dict[str, int | None]:
    header = device.config.header
    found = {"vendor": header.vendor, "device": header.device, "revision": header.revision, "class": header.class_code}
    return found | {"subsystem vendor": header.subsystem_vendor, "subsystem device": header.subsystem_device}


@dataclass(frozen=True)
class Before:
    """What a device was like before its reset."""

    identity: Mapping[str, int | None]
    bars: Sequence[int]

    @classmethod
    def of(cls, device: Device) -> Before:
        """Read from config space."""
        return cls(_identity(device), tuple(device.config.read(offset, 4) for offset in _BARS))


def verify(device: Device, before: Before, blocks: Mapping[int, type[Block]]) -> list[Finding]:
    """Look at ids, BARs, and the registers that the driver's ``blocks`` declare. Turns memory decoding on."""
    now = Before.of(device)
    changed = [
        f"{name} is {now.identity[name] or 0:x}, was {was or 0:x}"
        for name, was in before.identity.items()
        if now.identity[name] != was
    ]
    found = [Finding("ids", not changed, "; ".join(changed) or "as before")]
    moved = [
        f"BAR{number} is {is_:08x}, was {was:08x}"
        for number, (is_, was) in enumerate(zip(now.bars, before.bars, strict=True))
        if is_ != was
    ]
    found.append(Finding("BARs", not moved, "; ".join(moved) or "as before"))
    found.append(_registers(device, blocks))
    return found


def _registers(device: Device, blocks: Mapping[int, type[Block]]) -> Finding:
    """Registers that software writes, against the values that they are declared to have after a reset.

    What is read-only says what the device is: only a declared value other than 0 is compared.
    """
    target = OpenRegisters(device)
    wrong, count = [], 0
    try:
        for bar, block in blocks.items():
            for name, offset, register in _every_register(block):
                if register.access != "rw" and not (register.access == "ro" and register.reset):
                    continue
                count += 1
                value = target.read(Place(bar, offset, register.size, name, (register,)))
                if value != register.reset:
                    wrong.append(f"{name} is {value:x}, not {register.reset:x}")
    except VfioImsError as error:
        return Finding("registers", False, str(error).partition("\n")[0])
    if not count:
        return Finding("registers", None, "no driver here declares values after a reset")
    if len(wrong) > _NAMED:
        wrong = [*wrong[:_NAMED], f"and {len(wrong) - _NAMED} more"]
    return Finding("registers", not wrong, "; ".join(wrong) or f"{count} at their values after a reset")


def _every_register(block: type[Block], prefix: str = "", base: int = 0) -> Iterator[tuple[str, int, Register]]:
    """Name, offset and declaration of each register, those of repeated blocks as ``QUEUE[3].SIZE``."""
    for register in block.registers.values():
        yield f"{prefix}{register.name}", base + register.offset, register
    for name, repeat in block.repeats.items():
        for number in range(repeat.count):
            at = base + repeat.offset + number * repeat.stride
            yield from _every_register(repeat.block, f"{prefix}{name}[{number}].", at)
