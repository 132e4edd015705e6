# SPDX-License-Identifier: Apache-2.0
"""Declared registers: name, offset, width, fields, access. One declaration serves driver, model and printing. Pure."""

from vfio_ims.registers.block import Block, Repeat
from vfio_ims.registers.fields import Bits, bit, bits
from vfio_ims.registers.register import BoundRegister, Register, RegisterValue
from vfio_ims.registers.slots import SlotLayout

__all__ = [
    "Bits",
    "Block",
    "BoundRegister",
    "Register",
    "RegisterValue",
    "Repeat",
    "SlotLayout",
    "bit",
    "bits",
]
