# SPDX-License-Identifier: Apache-2.0
"""What messages a table's entries can hold: hardware policy that the choice of donors has to respect."""

from collections.abc import Sequence
from dataclasses import dataclass

from vfio_ims.messages.message import Message

__all__ = ["MessageLimits"]


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """Bits that an entry keeps of a message.

    ``data_bits``: 16 for DesignWare eDMA's channels. ``address_mask``: the address bits that are kept; the others must
    be those of ``address_fixed`` (DLB 2.0 keeps bits 19:2 under 0xfee). ``one_address``: entries share an address
    register, so that the messages in use must have the same address: all entries one, or, where ``address_groups`` has
    a number for each slot, those with the same number. Sources: reference drivers named at each layout.
    """

    data_bits: int = 32
    address_mask: int = 0xFFFF_FFFF_FFFF_FFFC
    address_fixed: int = 0
    one_address: bool = False
    address_groups: tuple[int, ...] = ()

    def by_address(self, slots: Sequence[int]) -> list[Sequence[int]]:
        """``slots`` apart by the address register that they share; all together where that is no matter."""
        if not self.one_address or not self.address_groups:
            return [slots]
        parts: dict[int, list[int]] = {}
        for slot in slots:
            parts.setdefault(self.address_groups[slot], []).append(slot)
        return list(parts.values())

    def share_address(self, one: int, other: int) -> bool:
        """Whether slots ``one`` and ``other`` have the same address register."""
        return self.one_address and (not self.address_groups or self.address_groups[one] == self.address_groups[other])

    def kept(self, message: Message) -> Message:
        """What an entry holds after ``message`` was written: data cut to its width, fixed address bits as they are."""
        address = message.address & self.address_mask | self.address_fixed & ~self.address_mask
        return Message(address & ~3, message.data & (1 << self.data_bits) - 1)

    def refusal(self, message: Message, others: tuple[Message, ...] = ()) -> str | None:
        """Why ``message`` cannot go into an entry beside ``others``, which share its address; None where it can."""
        if message.data >> self.data_bits:
            return f"the table keeps {self.data_bits} bits of data, the message has {message.data:#x}"
        kept = (message.address & self.address_mask | self.address_fixed & ~self.address_mask) & ~3
        if kept != message.address:
            return f"the table would keep {kept:#x} of address {message.address:#x}"
        if self.one_address:
            for other in others:
                if other.address != message.address:
                    return (
                        f"the table has one address for {'these slots' if self.address_groups else 'all'}, "
                        f"now {other.address:#x}, the message {message.address:#x}"
                    )
        return None
