# SPDX-License-Identifier: Apache-2.0
"""Interrupt messages: address/data pairs, what they mean, what a slot can hold. Pure."""

from vfio_ims.messages.limits import MessageLimits
from vfio_ims.messages.message import INTERRUPT_RANGE, NO_MESSAGE, Format, Message
from vfio_ims.messages.slot import Slot

__all__ = ["INTERRUPT_RANGE", "NO_MESSAGE", "Format", "Message", "MessageLimits", "Slot"]
