# SPDX-License-Identifier: Apache-2.0
"""An event as one line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.ports.values import IrqIndex, RegionIndex

if TYPE_CHECKING:
    from vfio_ims.tracing.format import Event

__all__ = ["in_words", "place_of"]

_LONG = 32  # hex digits of data that are shown


def place_of(event: Event) -> str:
    """Where an access went: ``GENCTRL (BAR 0 +0x90)``, or the place alone where nothing declares it."""
    region = int(event["region"])
    space = f"BAR {region}" if region < 6 else RegionIndex(region).name.lower() if region < 9 else f"region {region}"
    where = f"{space} +{event['offset']}"
    return f"{event['name']} ({where})" if event.get("name") else where


def in_words(event: Event) -> str:
    """What happened, without its time."""
    text = _text(event)
    if event.get("fields"):
        text += " (" + ", ".join(f"{name}={word}" for name, word in event["fields"].items()) + ")"
    for key in ("sym", "effect"):
        if event.get(key):
            text += f" [{event[key]}]"
    if event.get("times", 1) > 1:
        text += f", {event['times']} times"
    if event.get("err"):
        text += f": {event['err'].get('type')}: {event['err'].get('why', '')}"
    return text


def _data(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}… ({len(text) // 2} bytes)"


def _text(event: Event) -> str:
    bits = 8 * int(event.get("width", 0))
    match event["k"]:
        case "r":
            return f"read {bits} bits {place_of(event)} = {event.get('value', '?')}"
        case "w":
            return f"write {bits} bits {place_of(event)} = {event.get('value', '?')}"
        case "poll":
            wanted = f"& {event['mask']} == {event['expected']}"
            return f"poll {bits} bits {place_of(event)} until {wanted}, last {event.get('value', '?')}"
        case "rb":
            found = _data(event.get("data", "?"))
            return f"read {event['count']} registers of {bits} bits from {place_of(event)} = {found}"
        case "wb":
            return f"write registers of {bits} bits from {place_of(event)} = {_data(event['data'])}"
        case "rt":
            found, rows = _data(event.get("data", "?")), len(event["rows"])
            return f"read 32 bits in {counted(rows, 'row')} of a table from {place_of(event)} = {found}"
        case "wt":
            stores = ", ".join(f"+{at:#x}={value:#x}" for at, value in event["stores"][:6])
            more = "" if len(event["stores"]) <= 6 else f" and {len(event['stores']) - 6} more"
            slots = ", ".join(f"slot {slot} <- {name}" for slot, name in event.get("slots", {}).items())
            return f"write table in BAR {event['region']}: {stores}{more}{f' [{slots}]' if slots else ''}"
        case "s64" | "enq" | "rows":
            verb = {"s64": "store 64 bytes", "enq": "enqueue 64 bytes", "rows": "store rows"}[event["k"]]
            return f"{verb} to {place_of(event)}, {event.get('count', 1)} of them: {_data(event['data'])}"
        case "rr":
            return f"trapped read of {event['size']} bytes {place_of(event)} = {_data(event.get('data', '?'))}"
        case "wr":
            return f"trapped write {place_of(event)} = {_data(event['written'])}"
        case "irqs":
            kind = IrqIndex(event["index"]).name
            data = f" {event['data']}" if "data" in event else ""
            vectors = counted(event["count"], f"{kind} vector")
            return f"set {vectors} from {event['start']}, flags {event['flags']:#x}{data}"
        case "irq":
            return f"interrupt {IrqIndex(event['index']).name} vector {event['vector']}, count {event['count']}"
        case "mem" | "look" if "changes" in event:
            sizes = ", ".join(
                f"b{number}+{offset:#x}: {len(data) // 2} bytes" for number, offset, data in event["changes"]
            )
            return f"memory changed: {sizes}"
    shown = {key: value for key, value in event.items() if key not in ("t", "k", "dt", "th", "times", "err")}
    content = ", ".join(f"{key} {value}" for key, value in shown.items())
    return str(event["k"]).replace("_", " ") + (f" {content}" if content else "")
