# SPDX-License-Identifier: Apache-2.0
"""The callbacks of a driver that the domain calls, and the device's own report of a fire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vfio_ims.messages import FireStatus

__all__ = ["DriverCallbacks", "FireReport"]


@dataclass(frozen=True, slots=True)
class FireReport:
    """The device's own report of one fire. ``code`` and ``detail``: its status, for a refusal what it objected to."""

    status: FireStatus
    detail: str = ""
    code: int | None = None

    def __str__(self) -> str:
        return self.status.value + (f" ({self.detail})" if self.detail else "")


class DriverCallbacks(Protocol):
    """The part of a driver that the domain calls."""

    def fired(self, slots: Sequence[int]) -> Sequence[int] | None:
        """Those of ``slots``, which ascend, whose source has fired since it was last asked; None: it is not known."""
        ...

    def quiesce(self, slot: int) -> None:
        """On return nothing in the device refers to ``slot`` any more: no queue, no descriptor raises it."""
        ...

    def fault(self) -> str:
        """What shows that the device is no longer as it was started; "" where nothing does."""
        ...
