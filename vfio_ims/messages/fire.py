# SPDX-License-Identifier: Apache-2.0
"""What became of a fire: declared once, for the drivers that report it and the models that decide it."""

from enum import StrEnum

__all__ = ["FireStatus"]


class FireStatus(StrEnum):
    """What a device does with one fire of a slot, independent of whether the interrupt arrives."""

    SENT = "sent"
    """The message has left."""
    PENDING = "pending"
    """The slot is masked: the message is held back until it is unmasked."""
    REFUSED = "refused"
    """The slot does not serve this work, as where the PASID is another's: no message leaves."""
