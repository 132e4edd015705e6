# SPDX-License-Identifier: Apache-2.0
"""Constants of the portals in BAR 2: four pages of 4 KiB a work queue.

In order: unlimited/MSI-X, limited/MSI-X, unlimited/IMS, limited/IMS (Linux idxd patches of 2020-21). Address bits 11:6
do not matter to the device (SPDK walks through the page).
"""

from __future__ import annotations

__all__ = ["IMS_PORTAL", "LIMITED_PORTAL", "PORTAL_BAR", "PORTAL_PAGE", "QUEUE_PORTALS"]

PORTAL_BAR = 2
PORTAL_PAGE, QUEUE_PORTALS = 0x1000, 0x4000
LIMITED_PORTAL, IMS_PORTAL = 0x1000, 0x2000
