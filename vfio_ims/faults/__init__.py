# SPDX-License-Identifier: Apache-2.0
"""Faults on purpose: what kernel and device do when things go wrong, on any mount (``docs/faults.md``)."""

from vfio_ims.clock import ManualClock, manual_clock
from vfio_ims.faults.fault import Fault, parse_faults
from vfio_ims.faults.injecting import inject, inject_opened
from vfio_ims.faults.moment import Moment
from vfio_ims.faults.running import Faults, FaultWarning, Happened

__all__ = [
    "Fault",
    "FaultWarning",
    "Faults",
    "Happened",
    "ManualClock",
    "Moment",
    "inject",
    "inject_opened",
    "manual_clock",
    "parse_faults",
]
