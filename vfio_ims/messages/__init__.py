# SPDX-License-Identifier: Apache-2.0
"""Interrupt messages: address/data pairs, what they mean, what a slot can hold, what becomes of a fire. Pure."""

from vfio_ims.messages.fire import FireStatus
from vfio_ims.messages.limits import MessageLimits
from vfio_ims.messages.message import INTERRUPT_RANGE, NO_MESSAGE, Format, Message
from vfio_ims.messages.platform import MessagePlatform
from vfio_ims.messages.slot import Slot

__all__ = [
    "INTERRUPT_RANGE",
    "NO_MESSAGE",
    "FireStatus",
    "Format",
    "Message",
    "MessageLimits",
    "MessagePlatform",
    "Slot",
]
