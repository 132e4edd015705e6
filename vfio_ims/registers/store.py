# SPDX-License-Identifier: Apache-2.0
"""A device's message store described whole: its tables, and which register writes raise, arm and reset what."""

from __future__ import annotations

from dataclasses import dataclass

from vfio_ims.errors import UsageError
from vfio_ims.registers.register import Register
from vfio_ims.registers.slots import MEMORY, SlotLayout

__all__ = ["Context", "Doorbell", "Identity", "Store"]


@dataclass(frozen=True, slots=True)
class Doorbell:
    """A register whose write concerns one slot, at ``offset`` of BAR ``bar``, ``width`` bits wide.

    One register for all slots takes the slot's number, or ``value`` where that is given. ``stride``: each slot has a
    register of its own, so many bytes apart, which takes ``value`` (None: 1). ``bitmap``: 32-bit registers, in which
    a 1 at the slot's bit counts and a 0 changes nothing.
    """

    bar: int
    offset: int
    width: int = 32
    value: int | None = None
    stride: int | None = None
    bitmap: bool = False

    def __post_init__(self) -> None:
        why = ""
        if self.width not in (8, 16, 32, 64):
            why = f"width must be 8, 16, 32 or 64 bits, not {self.width!r}"
        elif self.bar not in range(6):
            why = f"bar must be 0 to 5, not {self.bar!r}"
        elif self.offset < 0 or self.offset % (self.width // 8):
            why = f"offset must be a multiple of {self.width // 8}, not {self.offset:#x}"
        elif self.bitmap and (self.width != 32 or self.value is not None or self.stride is not None):
            why = "a bitmap is 32 bits wide, and has neither value nor stride"
        elif self.stride is not None and (self.stride < self.width // 8 or self.stride % (self.width // 8)):
            why = f"stride must be a multiple of {self.width // 8}, not {self.stride}"
        if why:
            raise UsageError("declare a doorbell", why=why)

    @classmethod
    def on(cls, register: Register, bar: int = 0, value: int | None = None) -> Doorbell:
        """The doorbell that a declared ``register`` of BAR ``bar`` is.

        ``value``: what is written to ring it; the slot's number by default.
        """
        return cls(bar, register.offset, register.width, value)

    def access(self, slot: int) -> tuple[int, int]:
        """Offset in the BAR and value of the write that concerns ``slot``."""
        if self.bitmap:
            return self.offset + 4 * (slot // 32), 1 << slot % 32
        if self.stride is not None:
            return self.offset + self.stride * slot, 1 if self.value is None else self.value
        return self.offset, slot if self.value is None else self.value

    def slots(self, bar: int, offset: int, value: int, count: int) -> list[int]:
        """Which of ``count`` slots a write of ``value`` to ``offset`` of ``bar`` concerns."""
        at = offset - self.offset
        if bar != self.bar or at < 0:
            return []
        if self.bitmap:
            first = 32 * (at // 4)
            return [slot for slot in range(first, min(first + 32, count)) if value >> slot - first & 1]
        if self.stride is not None:
            slot, inside = divmod(at, self.stride)
            return [slot] if not inside and slot < count and value == (1 if self.value is None else self.value) else []
        slot = value if self.value is None else 0
        return [slot] if at == 0 and slot < count and self.value in (None, value) else []


@dataclass(frozen=True, slots=True)
class Identity:
    """A register that tells this device from others: what a read of it gives."""

    bar: int
    offset: int
    value: int

    @classmethod
    def on(cls, register: Register, bar: int = 0) -> Identity:
        """A declared register that always reads as its reset value."""
        return cls(bar, register.offset, register.reset)


@dataclass(frozen=True, slots=True)
class Context:
    """How a device comes by entries that are in our own DMA memory.

    ``base``: the 64-bit register, in BAR ``bar``, that is given the table's address. ``enable`` is written after that.
    ``load``: makes the device take one entry anew; None: it reads memory each time it raises the slot. ``show``: makes
    it put one entry as it has it, mask and pending bits included, into the registers from ``shown``, laid out as the
    entry is; None: what is in memory is what it has.
    """

    bar: int
    base: int
    enable: Doorbell | None = None
    load: Doorbell | None = None
    show: Doorbell | None = None
    shown: int | None = None

    def __post_init__(self) -> None:
        if (self.show is None) != (self.shown is None):
            raise UsageError("declare a context table", why="show and shown go together")
        if self.show is not None and self.load is None:
            raise UsageError("declare a context table", why="a device that shows its own entries must load them")


@dataclass(frozen=True, slots=True)
class Store:
    """Tables of slots, numbered one after the other, and the writes that concern a slot.

    ``fire`` raises a slot once. ``arm``, ``disarm``: a slot's source on and off; a slot is armed by its first fire and
    disarmed when it is given back. ``fire_vector``: raises an MSI-X vector, given its number. ``reset``: the device as
    after power-on. What is None is not known, or is not there: ``unknown`` says what follows from that.
    ``reserved_vectors``: MSI-X vectors that the device uses for itself, as for errors. ``context``: for a table in our
    DMA memory, which is then the only one.
    """

    tables: tuple[SlotLayout, ...]
    fire: Doorbell | None = None
    arm: Doorbell | None = None
    disarm: Doorbell | None = None
    fire_vector: Doorbell | None = None
    reset: Doorbell | None = None
    identity: Identity | None = None
    reserved_vectors: tuple[int, ...] = ()
    context: Context | None = None
    title: str = ""
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        in_memory = [layout for layout in self.tables if layout.bar == MEMORY]
        why = ""
        if not self.tables:
            why = "it has no table"
        elif bool(in_memory) != (self.context is not None):
            why = "a table in memory (bar MEMORY) and a context go together"
        elif in_memory and len(self.tables) > 1:
            why = "a table in memory must be the only one"
        elif self.arm is not None and self.disarm is None:
            why = "what can be armed must be disarmed: disarm is missing"
        if why:
            raise UsageError("describe a store", why=why)

    @property
    def count(self) -> int:
        """Slots of all tables."""
        return sum(layout.count for layout in self.tables)

    def unknown(self) -> list[str]:
        """What the description leaves open, and what cannot be done or promised for that reason."""
        missing = []
        if self.fire is None:
            missing.append("which write raises a slot (fire): no slot is fired, so no interrupt is seen")
        if self.reset is None:
            missing.append("which write resets the device (reset): it is taken as opening leaves it")
        if self.identity is None:
            missing.append("what tells the device from others (identity): another device would be written to as well")
        if self.fire_vector is None:
            missing.append("which write raises an MSI-X vector (fire_vector): its own MSI-X is not tested")
        if self.disarm is None and not all(layout.has_mask for layout in self.tables):
            missing.append("how a source is turned off (disarm): a slot given back may still send")
        if not all(layout.has_pending for layout in self.tables):
            missing.append("whether a fire of a masked slot is kept: there is no pending bit")
        return missing
