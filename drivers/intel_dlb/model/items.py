# SPDX-License-Identifier: Apache-2.0
"""An element while the device has it."""

from __future__ import annotations

__all__ = ["Item"]

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
