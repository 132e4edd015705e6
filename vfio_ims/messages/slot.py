# SPDX-License-Identifier: Apache-2.0
"""The value of one entry of an IMS table."""

from dataclasses import dataclass

from vfio_ims.errors import UsageError
from vfio_ims.messages.message import NO_MESSAGE, Message

__all__ = ["Slot"]


@dataclass(frozen=True, slots=True)
class Slot:
    """A message, whether it is held back, and the PASID that may raise it.

    ``pasid`` None: the slot serves work without a PASID. ``ignore``: the PASID is not compared
    (where the table has such a bit).
    """

    message: Message = NO_MESSAGE
    masked: bool = True
    pasid: int | None = None
    ignore: bool = False

    def __post_init__(self) -> None:
        if self.pasid is not None and not 0 <= self.pasid < 1 << 20:
            raise UsageError("make a slot", why=f"PASID must be 20 bits, not {self.pasid:#x}")

    def with_mask(self, masked: bool) -> "Slot":
        """The same entry, masked or not."""
        return Slot(self.message, masked, self.pasid, self.ignore)

    def with_message(self, message: Message) -> "Slot":
        """The same entry with another message."""
        return Slot(message, self.masked, self.pasid, self.ignore)

    def __str__(self) -> str:
        notes = ["masked"] if self.masked else []
        if self.pasid is not None:
            notes.append(f"PASID {self.pasid}")
        if self.ignore:
            notes.append("any PASID")
        return str(self.message) + (", " + ", ".join(notes) if notes else "")
