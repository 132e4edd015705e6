# SPDX-License-Identifier: Apache-2.0
"""What an allocation asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vfio_ims.errors import UnsupportedError, UsageError
from vfio_ims.ims.table import ImsTable

__all__ = ["Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """``count`` slots with shared donors; or one, ``exclusive``, or on exactly ``slot`` or ``vector``."""

    count: int = 1
    exclusive: bool = False
    masked: bool = False
    cookies: Sequence[object] = ()
    pasid: int | None = None
    ignore: bool = False
    slot: int | None = None
    vector: int | None = None

    def check(self, table: ImsTable, device: str) -> None:
        """Raise UnsupportedError or UsageError for what ``table`` cannot give."""
        if self.cookies and len(self.cookies) != self.count:
            why = f"there must be one cookie a slot, {self.count}, not {len(self.cookies)}"
            raise UsageError("allocate a group of slots", device=device, why=why)
        if self.pasid is not None and not table.has_pasid:
            why = "the table's entries have none"
            raise UnsupportedError("allocate a slot for a PASID", device=device, why=why)
        if self.masked and not table.has_mask:
            raise UnsupportedError("allocate a masked slot", device=device, why="the table's entries have no mask")
