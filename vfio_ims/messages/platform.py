# SPDX-License-Identifier: Apache-2.0
"""What messages are on one platform: the format of its interrupts, and the addresses that are no memory there."""

from dataclasses import dataclass

from vfio_ims.messages.message import Format, Message
from vfio_ims.messages.slot import Slot

__all__ = ["MessagePlatform"]


@dataclass(frozen=True, slots=True)
class MessagePlatform:
    """What takes a function's interrupt messages.

    ``format``: of all of them; None where it is not known, so that bits are the only hint. ``windows``: addresses that
    are never memory: a write there is an interrupt, or goes nowhere (x86's 0xfeexxxxx, an ITS's doorbell, the window of
    I/O addresses where Linux maps that). ``moves``: whether a vector that moves to another CPU gets another message;
    None where it is not known. ``text``: what was looked at.
    """

    format: Format | None = None
    windows: tuple[range, ...] = ()
    moves: bool | None = None
    text: str = "nothing is known of the platform"

    def of_vector(self, message: Message) -> Message:
        """A vector's message, read where the kernel wrote it: it is of the platform's format, whatever its bits."""
        return message.known_as(self.format) if message else message

    def of_entry(self, message: Message) -> Message:
        """A message that an entry holds: the platform's, or memory, by its address."""
        if not message or self.format is None:
            return message
        if self.windows:
            return message.known_as(self.format if self.takes(message.address) else Format.MEMORY)
        return message if message.format is Format.MEMORY else message.known_as(self.format)

    def of_slot(self, slot: Slot) -> Slot:
        """An entry as the device has it, whose message is named."""
        return slot.with_message(self.of_entry(slot.message))

    def __str__(self) -> str:
        known = "of an unknown format" if self.format is None else self.format
        where = ", ".join(f"{one.start:#x} to {one.stop - 1:#x}" for one in self.windows)
        return f"{known} ({self.text}){f'; never memory: {where}' if where else ''}"

    def takes(self, address: int) -> bool:
        """Whether ``address`` is no memory here."""
        return any(address in window for window in self.windows)
