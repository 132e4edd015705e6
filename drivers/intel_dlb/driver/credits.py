# SPDX-License-Identifier: Apache-2.0
"""A pool of credits, kept in software as the device keeps it: an element takes one, and gives it back when dequeued."""

from __future__ import annotations

from vfio_ims.counted import counted
from vfio_ims.errors import DeviceBusy
from vfio_ims.native.command_portal import CreditPool

__all__ = ["Credits"]


class Credits(CreditPool):
    """``total`` of them. The device has at least as many left as we: it counts one as free once it was scheduled."""

    __slots__ = ("_device", "total")

    def __init__(self, device: str, total: int) -> None:
        self._device, self.total = device, total
        super().__init__(total)

    def claim(self, count: int) -> None:
        """Take so many. DeviceBusy where there are not so many: nothing is taken then."""
        if not self.take(count):
            why = f"{counted(self.left, 'credit')} of {self.total} are left: the others are in queues"
            hint = "dequeue first, or give the domain more credits"
            raise DeviceBusy(f"enqueue {counted(count, 'element')}", device=self._device, why=why, hint=hint)
