# SPDX-License-Identifier: Apache-2.0
"""Sizes of the modelled device, and BAR 0 with its tables where Sapphire Rapids has them."""

from __future__ import annotations

from vfio_ims.registers import Repeat

from ..hardware.registers import Bar0
from ..hardware.tables import (
    GROUP_STRIDE,
    GROUPS_AT,
    PERMISSION_STRIDE,
    PERMISSIONS_AT,
    QUEUES_AT,
    GroupConfig,
    LongQueueConfig,
    Permission,
    QueueConfig,
    queue_stride,
)

__all__ = ["GROUPS", "QUEUES", "VECTORS", "LaterBar0", "ModelBar0"]

VECTORS, QUEUES, GROUPS = 9, 8, 4


class ModelBar0(Bar0):
    """Bar0 with the tables where Sapphire Rapids has them."""

    PERMISSIONS = Repeat(Permission, PERMISSIONS_AT, VECTORS, PERMISSION_STRIDE)
    GROUPS = Repeat(GroupConfig, GROUPS_AT, GROUPS, GROUP_STRIDE)
    QUEUES: Repeat[QueueConfig] = Repeat(QueueConfig, QUEUES_AT, QUEUES, queue_stride(0))


class LaterBar0(ModelBar0):
    """With room for the operations of each queue: version 2 on."""

    QUEUES = Repeat(LongQueueConfig, QUEUES_AT, QUEUES, queue_stride(1))
