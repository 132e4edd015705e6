# SPDX-License-Identifier: Apache-2.0
"""What a domain is made from: the device, its registers, and what of it is free."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..hardware.v20 import Domain20

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ims import ImsDomain

    from ..hardware.places import Version
    from ..hardware.registers import Bar2
    from .resources import Resources

__all__ = ["Parts"]


@dataclass(frozen=True, slots=True)
class Parts:
    """``lock``: the driver's, for ``resources`` and sequences of registers. ``ims``: where slots are allocated."""

    device: Device
    regs: Bar2
    version: Version
    resources: Resources
    ims: ImsDomain
    lock: threading.RLock

    def set_credits(self, domain: int, total: int, directed: int) -> None:
        """Write the credits of a domain. ``directed``: DLB 2.0's other pool."""
        row = self.regs.DOMAIN[domain]
        if isinstance(row, Domain20):
            row.CFG_LDB_VAS_CRD.write(count=total)
            row.CFG_VAS_CRD.write(count=directed)
        else:
            row.CFG_VAS_CRD.write(count=total)
