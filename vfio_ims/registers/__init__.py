# SPDX-License-Identifier: Apache-2.0
"""Declared registers: name, offset, width, fields, access. One declaration serves driver, model and printing. Pure."""

from vfio_ims.registers.block import Block, Repeat
from vfio_ims.registers.entry_words import EntryWords
from vfio_ims.registers.fields import Bits, bit, bits
from vfio_ims.registers.register import BoundRegister, Register, RegisterValue
from vfio_ims.registers.slots import MEMORY, SlotLayout
from vfio_ims.registers.store import Context, Doorbell, Identity, Store

__all__ = [
    "MEMORY",
    "Bits",
    "Block",
    "BoundRegister",
    "Context",
    "Doorbell",
    "EntryWords",
    "Identity",
    "Register",
    "RegisterValue",
    "Repeat",
    "SlotLayout",
    "Store",
    "bit",
    "bits",
]
