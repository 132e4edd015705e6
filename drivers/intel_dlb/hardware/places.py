# SPDX-License-Identifier: Apache-2.0
"""How many of each there are, where ports and tables lie, and what of it differs between DLB 2.5 and 2.0.

Sources: DPDK drivers/event/dlb2 (dlb2_hw_types.h, dlb2_regs.h, dlb2_user.h), Intel's DLB driver 8.1 for the IMS table.
The sizes of the BARs and the place of the MSI-X pending bits are inferred: no public listing shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

from vfio_ims.messages import MessageLimits
from vfio_ims.registers import SlotLayout

__all__ = [
    "BAR0_SIZE",
    "BAR2_SIZE",
    "DIRECTED_PORTS_AT",
    "DIRECTED_SLOTS_20",
    "DOMAINS",
    "HISTORY",
    "LDB_PORTS",
    "LDB_PORTS_AT",
    "LDB_QUEUES",
    "LDB_SLOTS_20",
    "MSIX_PBA_AT",
    "MSIX_TABLE_AT",
    "PORT_PAGE",
    "QUEUES_PER_PORT",
    "SEQUENCES",
    "SLOTS",
    "VECTORS",
    "VERSION_20",
    "VERSION_25",
    "Version",
]  # fmt: skip

BAR0_SIZE, BAR2_SIZE = 64 << 20, 4 << 30
DOMAINS = 32
LDB_QUEUES, LDB_PORTS, QUEUES_PER_PORT = 32, 64, 8
HISTORY = 2048
"""Entries of the history list, and of the atomic storage."""
SEQUENCES = 1024
"""Sequence numbers in each of two groups."""

PORT_PAGE = 0x1000
DIRECTED_PORTS_AT, LDB_PORTS_AT = (0x200_0000, 0x220_0000), (0x210_0000, 0x230_0000)
"""In BAR 0, the producer ports' pages, twice: DPDK stores to the first, Intel's kernel driver to the second."""

VECTORS, MSIX_TABLE_AT, MSIX_PBA_AT = 65, 0x100_0000, 0x101_0000

SLOTS = SlotLayout(bar=2, offset=0x11E0_0000, count=160)  # address low, high, data, control (0 mask, 1 pending)
"""DLB 2.5's: unmasked after reset. (Intel's driver: SYS_AI_ADDR_L, _U, _DATA, _CTRL)"""

_AI = MessageLimits(address_mask=0xF_FFFC, address_fixed=0xFEE0_0000)
LDB_SLOTS_20 = SlotLayout(
    bar=2, offset=0x1000_0000, count=64, stride=0x1000, low=0xFA4, high=None, data=0xFA8, control=None, limits=_AI
)
DIRECTED_SLOTS_20 = SlotLayout(
    bar=2, offset=0x1000_0000, count=64, stride=0x1000, low=0xFE4, high=None, data=0xFE8, control=None, limits=_AI
)
"""DLB 2.0's: for each consumer queue the bits 19:2 of an interrupt's address, and data; no mask, nothing pending."""


@dataclass(frozen=True, slots=True)
class Version:
    """What differs. ``credits``: of one pool; None: load-balanced and directed elements have pools of their own."""

    name: str
    device: int
    directed: int
    credits: int | None

    @property
    def combined(self) -> bool:
        """Whether there is one pool of credits."""
        return self.credits is not None


LDB_CREDITS, DIRECTED_CREDITS = 8192, 4096
VERSION_25 = Version("DLB 2.5", 0x2714, directed=96, credits=16384)
VERSION_20 = Version("DLB 2.0", 0x2710, directed=64, credits=None)
