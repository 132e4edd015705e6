# SPDX-License-Identifier: Apache-2.0
"""The values of VFIO's verbs as JSON and back: what a replay has to answer with."""

from __future__ import annotations

from typing import Any

from vfio_ims import errors
from vfio_ims.errors import VfioImsError
from vfio_ims.messages import MessagePlatform
from vfio_ims.messages.message import Format
from vfio_ims.ports.values import (
    AffectedFunction,
    Affinity,
    Area,
    Evidence,
    IovaRange,
    IrqFlags,
    IrqInfo,
    RegionFlags,
    RegionInfo,
)

__all__ = ["answer_from", "answer_to", "error_from", "error_to", "irq_from", "irq_to", "region_from", "region_to"]


def region_to(info: RegionInfo) -> dict[str, Any]:
    areas = [[area.offset, area.size] for area in info.areas]
    return {
        "index": info.index, "flags": int(info.flags), "size": info.size, "areas": areas, "msix": info.msix_mappable
    }  # fmt: skip


def region_from(found: dict[str, Any]) -> RegionInfo:
    areas = tuple(Area(offset, size) for offset, size in found["areas"])
    return RegionInfo(found["index"], RegionFlags(found["flags"]), found["size"], 0, areas, found["msix"])


def irq_to(info: IrqInfo) -> dict[str, Any]:
    return {"index": info.index, "flags": int(info.flags), "count": info.count}


def irq_from(found: dict[str, Any]) -> IrqInfo:
    return IrqInfo(found["index"], IrqFlags(found["flags"]), found["count"])


def answer_to(answer: Any) -> Any:
    """What a port's question was answered with."""
    if isinstance(answer, Evidence):
        return {"evidence": [answer.answer, answer.text, answer.to_find_out]}
    if isinstance(answer, MessagePlatform):
        windows = [[window.start, window.stop] for window in answer.windows]
        name = None if answer.format is None else answer.format.name
        return {"platform": [name, windows, answer.moves, answer.text]}
    if isinstance(answer, Affinity):
        return {"affinity": [sorted(answer.allowed), sorted(answer.effective)]}
    if isinstance(answer, tuple) and all(isinstance(one, AffectedFunction) for one in answer):
        return {"affected": [[one.address, one.owned, one.group] for one in answer]}
    if isinstance(answer, tuple) and all(isinstance(one, IovaRange) for one in answer):
        return {"ranges": [[one.start, one.last] for one in answer]}
    return dict(answer) if hasattr(answer, "keys") else answer


def answer_from(found: Any) -> Any:
    if not isinstance(found, dict) or len(found) != 1:
        return found
    [(kind, value)] = found.items()
    match kind:
        case "evidence":
            return Evidence(*value)
        case "platform":
            name, windows, moves, text = value
            kept = tuple(range(start, stop) for start, stop in windows)
            return MessagePlatform(None if name is None else Format[name], kept, moves, text)
        case "affinity":
            return Affinity(frozenset(value[0]), frozenset(value[1]))
        case "affected":
            return tuple(AffectedFunction(*one) for one in value)
        case "ranges":
            return tuple(IovaRange(*one) for one in value)
    return found


def error_to(error: BaseException) -> dict[str, Any]:
    if not isinstance(error, VfioImsError):
        return {"type": type(error).__name__, "why": str(error)}
    kept = {"operation": error.operation, "why": error.why, "hint": error.hint, "errno": error.errno}
    return {"type": type(error).__name__} | {key: value for key, value in kept.items() if value}


def error_from(found: dict[str, Any], device: str) -> VfioImsError:
    """The error again, of the same type where the package has it."""
    kind = getattr(errors, found.get("type", ""), None)
    if not (isinstance(kind, type) and issubclass(kind, VfioImsError)):
        kind = errors.DeviceError
    operation = found.get("operation", "use the device")
    return kind(
        operation, device=device, why=found.get("why", ""), hint=found.get("hint", ""), errno=found.get("errno")
    )
