# SPDX-License-Identifier: Apache-2.0
"""Power management and latency: PM (PCIe base spec 6.0, section 7.5.2) and LTR (7.8.2)."""

from __future__ import annotations

from enum import IntEnum
from typing import Self

from vfio_ims.pci.capabilities.base import ExtendedCapability, StandardCapability
from vfio_ims.pci.capabilities.fields import Bits, Flag

__all__ = ["LatencyTolerance", "PowerManagement", "PowerState"]


class PowerState(IntEnum):
    """The function's power state as the PM control register has it (PCIe 6.0 7.5.2.2)."""

    D0, D1, D2, D3HOT = range(4)


class PowerManagement(StandardCapability):
    """Power states and wake-up."""

    capability_id = 0x01
    minimum = 8
    reference = "PCIe 6.0 7.5.2; PCI_PM_* in pci_regs.h"

    pm_version = Bits(0x02, 2, 0)
    pme_clock = Flag(0x02, 3)
    immediate_readiness = Flag(0x02, 4)
    device_specific_init = Flag(0x02, 5)
    aux_current = Bits(
        0x02,
        8,
        6,
        words={0: "0 mA", 1: "55 mA", 2: "100 mA", 3: "160 mA", 4: "220 mA", 5: "270 mA", 6: "320 mA", 7: "375 mA"},
    )
    d1 = Flag(0x02, 9)
    d2 = Flag(0x02, 10)
    pme_from = Bits(0x02, 15, 11, words=lambda bits: f"{bits:#x} (bit n: D0, D1, D2, D3hot, D3cold)")
    power_state = Bits(0x04, 1, 0, access="rw", words={0: "D0", 1: "D1", 2: "D2", 3: "D3hot"})
    no_soft_reset = Flag(0x04, 3)
    pme_enable = Flag(0x04, 8, access="rw")
    data_select = Bits(0x04, 12, 9)
    data_scale = Bits(0x04, 14, 13)
    pme_status = Flag(0x04, 15, access="w1c")
    bridge_extensions = Bits(0x06, 7, 0)
    power_data = Bits(0x07, 7, 0)

    @classmethod
    def new(cls, *, no_soft_reset: bool = True) -> Self:
        """Version 3, D0 and D3hot, no wake-up. ``no_soft_reset``: the function keeps its state from D3hot to D0."""
        return cls.make(cls.minimum, pm_version=3, no_soft_reset=no_soft_reset)


_SCALE_NS = (1, 32, 1024, 32768, 1048576, 33554432)


def _latency(value: int, scale: int) -> int | None:
    return value * _SCALE_NS[scale] if scale < len(_SCALE_NS) else None


class LatencyTolerance(ExtendedCapability):
    """Latency Tolerance Reporting: the greatest latency that the platform asks the function to bear."""

    capability_id = 0x18
    minimum = 8
    reference = "PCIe 6.0 7.8.2; PCI_LTR_* in pci_regs.h"
    shown = ("max_snoop_ns", "max_no_snoop_ns")

    snoop_value = Bits(0x04, 9, 0, access="rw")
    snoop_scale = Bits(0x04, 12, 10, access="rw")
    no_snoop_value = Bits(0x06, 9, 0, access="rw")
    no_snoop_scale = Bits(0x06, 12, 10, access="rw")

    @classmethod
    def new(cls) -> Self:
        """Zero until software writes it."""
        return cls.make(cls.minimum)

    @property
    def max_snoop_ns(self) -> int | None:
        """Nanoseconds; None for a reserved scale."""
        return _latency(self.snoop_value, self.snoop_scale)

    @property
    def max_no_snoop_ns(self) -> int | None:
        return _latency(self.no_snoop_value, self.no_snoop_scale)
