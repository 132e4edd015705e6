# SPDX-License-Identifier: Apache-2.0
"""Entries of 12 bytes: address and data, no control word, and no masks beside them."""

from vfio_ims.registers import Block, Register, SlotLayout, bit


class Bar0(Block):
    """BAR 0. A raised slot sends its message at once: nothing in the device holds it back."""

    ID = Register(0x00, access="ro", reset=0x5A04_0001)
    RESET = Register(0x04, access="wo")
    FIRE = Register(0x08, access="wo")
    FIRE_VECTOR = Register(0x0C, access="wo")
    STATUS = Register(0x10, access="ro", refused=bit(0))


SLOTS = SlotLayout(
    bar=0,
    offset=0x1000,
    count=24,
    stride=12,
    low=0,
    high=4,
    data=8,
    control=None,
    mask=None,
    pending=None,
)
