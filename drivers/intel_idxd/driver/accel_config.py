# SPDX-License-Identifier: Apache-2.0
"""Configurations as accel-config's JSON files have them: loaded, saved.

Names: Intel's accel-config, ``contrib/configs`` and ``Documentation/accfg/accel-config-list.txt``. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.errors import UsageError, explain_unknown
from vfio_ims.json_input import NotJson, read_json

from .configuration import LAST_WITH_CLASSES, TRAFFIC_CLASS, Configuration, Group, Queue, default_class

if TYPE_CHECKING:
    from .capabilities import Capabilities

__all__ = ["bitmap_text", "load", "save"]

_LABELS = ("type", "driver_name")
_QUEUE_KEYS = {
    "dev", "mode", "size", "group_id", "priority", "block_on_fault", "max_batch_size", "max_transfer_size", "threshold",
    "ats_disable", "prs_disable", "op_config", "name", *_LABELS,
    "cdev_minor", "state", "clients", "occupancy", "driver",  # what a list shows, and nothing is set by
}  # fmt: skip
_DEVICE_KEYS = {
    "dev", "groups", "read_buffer_limit", "event_log_size",
    "max_groups", "max_work_queues", "max_engines", "work_queue_size", "numa_node", "errors", "op_cap", "iaa_cap",
    "gen_cap", "version", "state", "max_read_buffers", "max_tokens", "max_batch_size", "ims_size", "max_transfer_size",
    "configurable", "pasid_enabled", "cdev_major", "clients", "mdevs", "ungrouped_workqueues", "ungrouped_engines",
}  # fmt: skip
_GROUP_KEYS = {
    "dev", "grouped_workqueues", "grouped_engines", "read_buffers_reserved", "read_buffers_allowed",
    "use_read_buffer_limit", "traffic_class_a", "traffic_class_b", "desc_progress_limit", "batch_progress_limit",
}  # fmt: skip
_ENGINE_KEYS = {"dev", "group_id"}
_OLD_NAMES = {
    "tokens_allowed": "read_buffers_allowed",
    "tokens_reserved": "read_buffers_reserved",
    "use_token_limit": "use_read_buffer_limit",
    "token_limit": "read_buffer_limit",
}


def _bad(why: str) -> UsageError:
    return UsageError("load accel-config's JSON", why=why)


def load(text: str, capabilities: Capabilities, device: str | None = None, *, file: str = "") -> Configuration:
    """The configuration of ``device`` ("dsa0"; None: the only one) in ``text``, a file that accel-config saved.

    ``capabilities``: those of the device that it is for. Groups that it does not mention have nothing. UsageError for
    what cannot be; for what is no JSON it names ``file``, line and column.
    """
    try:
        devices = read_json(text)
    except NotJson as error:
        raise _bad(f"{file or 'the text'}: {error}") from None
    if not isinstance(devices, list) or not all(isinstance(one, dict) and "dev" in one for one in devices):
        raise _bad("it must be a list of devices, each with its dev")
    names = [str(one["dev"]) for one in devices]
    if device is None and len(devices) != 1:
        raise _bad(f"it has {', '.join(names) or 'no device'}: name one")
    if device is not None and device not in names:
        raise _bad(explain_unknown("device", device, names))
    chosen = _renamed(devices[0 if device is None else names.index(device)])
    _check_names(chosen, "a device's", _DEVICE_KEYS)
    groups: list[Group] = []
    queues: list[Queue] = []
    for entry in map(_renamed, _list(chosen, "groups")):
        index = _number(entry, "group")
        _check_names(entry, "a group's", _GROUP_KEYS)
        groups.append(_group(index, entry, default_class(capabilities.version)))
        queues += [_queue(index, _renamed(one)) for one in _list(entry, "grouped_workqueues")]
    _check_once("device", names)
    _check_once("group", [group.index for group in groups])
    _check_once("work queue", [queue.index for queue in queues])
    known = {group.index for group in groups}
    groups += [_unused(n) for n in range(capabilities.group.groups) if n not in known]
    return Configuration(
        tuple(sorted(queues, key=lambda queue: queue.index)),
        tuple(sorted(groups, key=lambda group: group.index)),
        _integer(chosen, "read_buffer_limit"),
        _integer(chosen, "event_log_size"),
    )


def _renamed(entry: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise _bad(f"there must be an object, not {entry!r}")
    for old, new in _OLD_NAMES.items():
        if old in entry and new in entry:
            raise _bad(f"{_place(entry)} has {new!r} twice: {old!r} is its old name")
    return {_OLD_NAMES.get(key, key): value for key, value in entry.items()}


def _check_once(kind: str, found: Sequence[object]) -> None:
    for one in found:
        if found.count(one) > 1:
            raise _bad(f"{kind} {one} is there twice")


def _place(entry: Mapping[str, Any]) -> str:
    return str(entry.get("dev", "an object without dev"))[:80]


def _check_names(entry: Mapping[str, Any], whose: str, known: Collection[str]) -> None:
    for key in entry:
        if key not in known:
            raise _bad(f"{_place(entry)}: {explain_unknown(f'{whose} attribute', key, known)}")


def _number(entry: Mapping[str, Any], kind: str) -> int:
    """The last number of "wq0.3", "group0.1", "engine0.2"."""
    found = re.fullmatch(rf"{kind}[0-9]{{1,9}}\.([0-9]{{1,3}})", str(entry.get("dev")))
    if found is None:
        raise _bad(f"dev must be {kind}N.M, not {str(entry.get('dev'))[:80]!r}")
    return int(found[1])


def _list(entry: Mapping[str, Any], key: str) -> list[Any]:
    found = entry.get(key, [])
    if not isinstance(found, list):
        raise _bad(f"{key} must be a list, not {found!r}")
    return found


def _integer(entry: Mapping[str, Any], key: str, default: int = 0) -> int:
    found = entry.get(key, default)
    try:
        number = int(found)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0:
        raise _bad(f"{key} of {entry.get('dev')} must be a number from 0 on, not {found!r}")
    return number


def _group(index: int, entry: Mapping[str, Any], unsaid: int) -> Group:
    """``unsaid``: the traffic class where none is given. accel-config leaves out those of 0 when it saves (seen)."""
    return Group(
        index,
        tuple(_engine(_renamed(one)) for one in _list(entry, "grouped_engines")),
        _integer(entry, "read_buffers_reserved"),
        _integer(entry, "read_buffers_allowed"),
        bool(entry.get("use_read_buffer_limit", 0)),
        _integer(entry, "traffic_class_a", unsaid),
        _integer(entry, "traffic_class_b", unsaid),
        _integer(entry, "desc_progress_limit"),
        _integer(entry, "batch_progress_limit"),
    )


def _engine(entry: Mapping[str, Any]) -> int:
    _check_names(entry, "an engine's", _ENGINE_KEYS)
    return _number(entry, "engine")


def _queue(group: int, entry: Mapping[str, Any]) -> Queue:
    _check_names(entry, "a work queue's", _QUEUE_KEYS)
    mode = entry.get("mode", "dedicated")
    if mode not in ("dedicated", "shared"):
        raise _bad(f"mode must be dedicated or shared, not {mode!r}")
    return Queue(
        _number(entry, "wq"),
        _integer(entry, "size"),
        _integer(entry, "group_id", group),
        mode == "dedicated",
        _integer(entry, "priority", 10),
        _integer(entry, "threshold"),
        bool(entry.get("block_on_fault", 0)),
        not entry.get("ats_disable", 0),
        not entry.get("prs_disable", 0),
        max_transfer_shift=_shift(entry, "max_transfer_size"),
        max_batch_shift=_shift(entry, "max_batch_size"),
        operations=_bitmap(entry["op_config"]) if "op_config" in entry else None,
        name=str(entry.get("name", "")),
        labels=tuple((key, str(entry[key])) for key in _LABELS if key in entry),
    )


def _shift(entry: Mapping[str, Any], key: str) -> int | None:
    if key not in entry:
        return None
    size = _integer(entry, key)
    if size < 1 or size & (size - 1):
        raise _bad(f"{key} must be a power of two, not {size}")
    return size.bit_length() - 1


def _bitmap(words: str) -> int:
    """Eight 32-bit words, the highest first."""
    parts = str(words).split(",")
    if len(parts) > 8 or not all(re.fullmatch("[0-9a-fA-F]{1,8}", part) for part in parts):
        raise _bad(f"op_config must be up to eight words of 8 hex digits, not {words!r}")
    return sum(int(part, 16) << 32 * n for n, part in enumerate(reversed(parts)))


def bitmap_text(bits: int) -> str:
    """As accel-config prints OPCAP and op_config."""
    return ",".join(f"{bits >> 32 * n & 0xFFFF_FFFF:08x}" for n in range(7, -1, -1))


def save(configuration: Configuration, capabilities: Capabilities, device: str = "dsa0") -> str:
    """A file that accel-config loads, for the kernel's driver: ``configuration`` as that of ``device``.

    It writes all that is in the file, and gives up where Linux refuses: what the device does not have, by its
    ``capabilities``, is left out.
    """
    number = re.sub(r"\D", "", device) or "0"
    entry: dict[str, Any] = {"dev": device}
    if capabilities.group.read_buffer_limit or configuration.read_buffer_limit:
        entry["read_buffer_limit"] = configuration.read_buffer_limit
    if configuration.event_log:
        entry["event_log_size"] = configuration.event_log
    entry["groups"] = []
    for group in configuration.groups:
        queues = [queue for queue in configuration.queues if queue.size and queue.group == group.index]
        if queues or group != _unused(group.index):
            entry["groups"].append(_saved_group(group, queues, number, capabilities))
    return json.dumps([entry], indent=2) + "\n"


def _unused(index: int) -> Group:
    return Group(index, traffic_class_a=0, traffic_class_b=0)


def _saved_group(group: Group, queues: Sequence[Queue], number: str, capabilities: Capabilities) -> dict[str, Any]:
    entry: dict[str, Any] = {"dev": f"group{number}.{group.index}"}
    buffers = {
        "read_buffers_reserved": group.read_buffers_reserved,
        "use_read_buffer_limit": int(group.use_read_buffer_limit),
        "read_buffers_allowed": group.read_buffers_allowed,
    }
    if capabilities.group.read_buffers or any(buffers.values()):
        entry |= buffers
    classes = {"traffic_class_a": group.traffic_class_a, "traffic_class_b": group.traffic_class_b}
    if capabilities.version > LAST_WITH_CLASSES or set(classes.values()) != {TRAFFIC_CLASS}:
        entry |= classes  # up to that version Linux itself sets both, and takes no other value
    if group.descriptor_progress_limit or group.batch_progress_limit:
        entry["desc_progress_limit"] = group.descriptor_progress_limit
        entry["batch_progress_limit"] = group.batch_progress_limit
    if queues:
        entry["grouped_workqueues"] = [_saved_queue(queue, number, capabilities.general) for queue in queues]
    if group.engines:
        entry["grouped_engines"] = [
            {"dev": f"engine{number}.{engine}", "group_id": group.index} for engine in group.engines
        ]
    return entry


def _saved_queue(queue: Queue, number: str, general: Any) -> dict[str, Any]:
    transfer = general.max_transfer_shift if queue.max_transfer_shift is None else queue.max_transfer_shift
    batch = general.max_batch_shift if queue.max_batch_shift is None else queue.max_batch_shift
    entry: dict[str, Any] = {
        "dev": f"wq{number}.{queue.index}",
        "mode": "dedicated" if queue.dedicated else "shared",
        "size": queue.size,
        "group_id": queue.group,
        "priority": queue.priority,
        "block_on_fault": int(queue.block_on_fault),
        **({"max_batch_size": 1 << batch} if batch or queue.max_batch_shift is not None else {}),
        "max_transfer_size": 1 << transfer,
        **dict(queue.labels or (("type", "user"), ("driver_name", "user"))),
        "name": queue.name or f"wq{queue.index}",
        "threshold": queue.threshold,
    }
    if not queue.ats:
        entry["ats_disable"] = 1
    if not queue.prs:
        entry["prs_disable"] = 1
    if queue.operations is not None:
        entry["op_config"] = bitmap_text(queue.operations)
    return entry
