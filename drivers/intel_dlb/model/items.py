# SPDX-License-Identifier: Apache-2.0
"""An element while the device has it, and what is remembered of one that was scheduled and not completed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .atomic import Flow
    from .ordering import Window
    from .queues import LdbQueueState

__all__ = ["History", "Item"]

HEAD = 14
"""Bytes that an entry of a consumer queue has from what was enqueued: data, opaque, queue, kind, flow."""


class Item:
    """``head``: its first 14 bytes. ``domain``: whose credit it has."""

    __slots__ = ("directed", "domain", "flow", "head", "kind", "priority", "queue")

    def __init__(self, raw: bytes, domain: int) -> None:
        self.head, self.domain = raw[:HEAD], domain
        self.queue, self.kind, self.priority = raw[10], raw[11] & 3, raw[11] >> 2 & 7
        self.flow = raw[12] | raw[13] << 8
        self.directed = self.kind == 3


@dataclass(slots=True)
class History:
    """An entry of a port's history list. ``flow``: an atomic element's; ``window`` and ``number``: an ordered one's."""

    queue: LdbQueueState
    flow: Flow | None = None
    window: Window | None = None
    number: int = 0
