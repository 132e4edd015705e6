# SPDX-License-Identifier: Apache-2.0
"""Powering the device up, and what is set once for all (DPDK: dlb2_main.c; Intel's driver: dlb2_pf_ops.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hardware.places import VERSION_20, VERSION_25, Version
from ..hardware.registers import ALARMS, Bar2
from ..hardware.v20 import Bar2V20

if TYPE_CHECKING:
    from vfio_ims.device import Device

__all__ = ["bind", "flush", "power_up", "prepare", "version_of"]

_DEVICE_ID = 2
_READY = 1.0  # seconds: what DPDK allows


def version_of(device: Device) -> Version:
    """Which one it is, by its id."""
    return VERSION_20 if device.config.read(_DEVICE_ID, 2) == VERSION_20.device else VERSION_25


def bind(device: Device) -> Bar2:
    """The registers of BAR 2."""
    return device.bar(2).bind(Bar2V20 if version_of(device) is VERSION_20 else Bar2)


def power_up(regs: Bar2) -> None:
    """Clear the power management's switch and wait until the function is on. DeviceTimeout where it does not come up.

    The first access of all: it survives a reset.
    """
    if regs.PMCSR_DISABLE.read().disable:
        regs.PMCSR_DISABLE.write(0)
    regs.PM_STATUS.poll(_READY, state=1)
    regs.IDLE_STATUS.poll(_READY, idle=1)


def prepare(regs: Bar2) -> None:
    """Alarms on, a vector for each consumer queue, entries of 16 bytes side by side."""
    regs.INGRESS_ALARM_ENBL.write(ALARMS)
    regs.MSIX_MODE.write(compressed=0)
    regs.CHP_CSR_CTRL.update(wide_ldb=0, wide_directed=0)
    regs.WRITE_BUFFER_CTL.write(3)  # the rate limit that Intel's driver sets
    regs.LDB_TIMER_CTL.write(on=1, interval=0)
    regs.DIR_TIMER_CTL.write(on=1, interval=0)
    flush(regs)


def flush(regs: Bar2) -> None:
    """What was written before has reached the device."""
    regs.TOTAL_VAS.read()
