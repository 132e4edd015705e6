# SPDX-License-Identifier: Apache-2.0
"""What the tests of software devices share: constants, and steps that several take."""

from __future__ import annotations

from vfio_ims.ports.values import IrqSet

ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER


CONFIG, PAGE = 7, 4096


def bus_master(device, on: bool = True) -> None:
    device.write_region(CONFIG, 4, bytes([6 if on else 2, 0]))


def copy_donor(window, slot: int, vector: int) -> None:
    window.write64(0x1000 + 16 * slot, window.read64(0x2000 + 16 * vector))
    window.write32(0x1008 + 16 * slot, window.read32(0x2008 + 16 * vector))
