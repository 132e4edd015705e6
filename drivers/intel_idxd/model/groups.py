# SPDX-License-Identifier: Apache-2.0
"""The groups of the modelled device: which queues and engines each has, and what enabling the device checks of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vfio_ims.models.register_file import View

from ..hardware.commands import CommandError
from ..hardware.tables import GroupConfig

__all__ = ["check_groups", "members", "traffic_classes"]


def _numbers(mask: int) -> list[int]:
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


def members(groups: Sequence[View]) -> Iterator[tuple[list[int], list[int]]]:
    """Queues and engines of each group that has queues."""
    for row in groups:
        queues, engines = row.get(GroupConfig.QUEUES0), row.get(GroupConfig.ENGINES)
        if queues:
            yield _numbers(queues), _numbers(engines)


def traffic_classes(groups: Sequence[View], queue: int) -> tuple[int, int]:
    """Traffic classes A and B of the group that has ``queue``."""
    for row in groups:
        if row.get(GroupConfig.QUEUES0) >> queue & 1:
            flags = row.get(GroupConfig.FLAGS)
            return flags.traffic_class_a, flags.traffic_class_b
    return 0, 0


def check_groups(groups: Sequence[View], sized: Sequence[bool], engine_count: int, read_buffers: int) -> CommandError:
    """Why the device cannot be enabled with these groups; ``sized`` says of each queue whether it has entries.

    Source: accel-config's words for the command errors 0x15 to 0x18.
    """
    queues = engines = reserved = 0
    for row in groups:
        own_queues, own_engines = row.get(GroupConfig.QUEUES0), row.get(GroupConfig.ENGINES)
        flags = row.get(GroupConfig.FLAGS)
        if bool(own_queues) != bool(own_engines):
            return CommandError.GROUP_EMPTY
        if own_queues & queues or own_queues >> len(sized):
            return CommandError.GROUP_QUEUES
        if own_engines & engines or own_engines >> engine_count:
            return CommandError.GROUP_ENGINES
        queues, engines = queues | own_queues, engines | own_engines
        if flags.read_buffers_reserved > flags.read_buffers_allowed:
            return CommandError.GROUP_READ_BUFFERS
        reserved += flags.read_buffers_reserved
    if any(has_entries and not queues >> queue & 1 for queue, has_entries in enumerate(sized)):
        return CommandError.GROUP_QUEUES
    if reserved > read_buffers:
        return CommandError.GROUP_READ_BUFFERS
    return CommandError.NONE if queues else CommandError.CONFIGURATION
