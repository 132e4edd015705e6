# SPDX-License-Identifier: Apache-2.0
"""What an allocation asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vfio_ims.errors import UnsupportedError, UsageError, check_flag, check_index
from vfio_ims.ims.table import ImsTable

__all__ = ["ANY", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """``count`` slots with shared donors; or one, ``exclusive``, or on exactly ``slot`` or ``vector``."""

    count: int = 1
    exclusive: bool = False
    masked: bool = False
    cookies: Sequence[object] = ()
    pasid: int | None = None
    any_pasid: bool = False
    slot: int | None = None
    vector: int | None = None

    def check(self, table: ImsTable, device: str, vectors: int) -> None:
        """Raise UnsupportedError or UsageError for what ``table``, or one of ``vectors``, cannot give."""
        self._check_kinds(table, device, vectors)
        if self.cookies and len(self.cookies) != self.count:
            why = f"there must be one cookie a slot, {self.count}, not {len(self.cookies)}"
            raise UsageError("allocate a group of slots", device=device, why=why)
        if self.pasid is not None and not table.has_pasid:
            why = "the table's entries have none"
            raise UnsupportedError("allocate a slot for a PASID", device=device, why=why)
        if self.masked and not table.has_mask:
            raise UnsupportedError("allocate a masked slot", device=device, why="the table's entries have no mask")

    def _check_kinds(self, table: ImsTable, device: str, vectors: int) -> None:
        """Whether each thing is of the kind that it must be."""
        operation = "allocate slots" if self.slot is None else "allocate a slot"
        for name, flag in (("exclusive", self.exclusive), ("masked", self.masked), ("any_pasid", self.any_pasid)):
            check_flag(flag, name, operation, device)
        if not isinstance(self.count, int):
            why = f"count must be a number, 1 or more, not {self.count!r}"
            raise UsageError(operation, device=device, why=why)
        if not isinstance(self.cookies, Sequence):
            why = f"cookies must be a list of {self.count}, one a slot, not {self.cookies!r}"
            raise UsageError(operation, device=device, why=why)
        if self.slot is not None:
            check_index(self.slot, table.size, "slot", operation, device)
        if self.vector is not None:
            check_index(self.vector, vectors, "vector", operation, device)
        if self.pasid is not None:
            check_index(self.pasid, 1 << 20, "pasid", operation, device)


ANY = Request(cookies=(None,))
"""One slot, nothing asked of it: what most allocations are. It is right for every table, so it is not checked."""
