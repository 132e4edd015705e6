# SPDX-License-Identifier: Apache-2.0
"""An element while the device has it."""

from __future__ import annotations

__all__ = ["Item"]

HEAD, FLOW = 14, 12
"""Bytes that an entry of a consumer queue has from what was enqueued: data, opaque, queue, kind, flow."""


class Item:
    """``head``: the first 14 bytes of its entry. ``domain``: whose credit it has.

    A directed entry has the flow where others have queue and kind (Element.unpack). [zeros after it: inferred]
    """

    __slots__ = ("directed", "domain", "flow", "head", "kind", "priority", "queue")

    def __init__(self, raw: bytes, domain: int) -> None:
        self.domain = domain
        self.queue, self.kind, self.priority = raw[10], raw[11] & 3, raw[11] >> 2 & 7
        self.flow = raw[12] | raw[13] << 8
        self.directed = self.kind == 3
        self.head = raw[: FLOW - 2] + raw[FLOW:HEAD] + bytes(2) if self.directed else raw[:HEAD]
