# SPDX-License-Identifier: Apache-2.0
"""The tables of BAR 0 whose places ``OFFSETS`` has: groups, work queues, MSI-X permissions, IMS slots.

Sources: Linux ``drivers/dma/idxd/registers.h`` and ``device.c``; the IMS entry from three drivers (irq-ims-msi.c 2021,
irq-pci-intel-idxd.c 2022, an Intel VFIO driver of 2026, which alone names pending and ignore). The places are those of
a Sapphire Rapids DSA, from its driver's debug output: the driver here reads them from the device.
"""

from __future__ import annotations

from enum import IntEnum

from vfio_ims.registers import Block, Register, SlotLayout, bit, bits

__all__ = [
    "GROUPS_AT",
    "GROUP_STRIDE",
    "PERFMON_AT",
    "PERMISSIONS_AT",
    "PERMISSION_STRIDE",
    "QUEUES_AT",
    "SLOTS",
    "SLOTS_PER_UNIT",
    "GroupConfig",
    "LongQueueConfig",
    "Permission",
    "QueueConfig",
    "QueueState",
    "queue_stride",
]

PERMISSIONS_AT, GROUPS_AT, QUEUES_AT, PERFMON_AT = 0x200, 0x300, 0x400, 0x1000
PERMISSION_STRIDE, GROUP_STRIDE = 8, 64

SLOTS = SlotLayout(bar=0, offset=0x4000, count=2048, ignore=2, pasid_enable=3)
"""Control word: 0 mask, 1 pending, 2 ignore, 3 PASID enable, 31:12 PASID."""

SLOTS_PER_UNIT = 256
"""What GENCAP's multiplier counts."""


def queue_stride(config_size: int) -> int:
    """Bytes of one queue's configuration, for WQCAP's ``config_size``."""
    return 1 << 5 + config_size


class QueueState(IntEnum):
    """WQCFG dword 6 bits 31:30."""

    DISABLED = 0
    ENABLED = 1
    BUSY = 2


class GroupConfig(Block):
    """GRPCFG: which queues feed which engines. An entry is 64 bytes."""

    QUEUES0 = Register(0x00, 64, doc="queues 63:0 of the group")
    QUEUES1 = Register(0x08, 64)
    QUEUES2 = Register(0x10, 64)
    QUEUES3 = Register(0x18, 64)
    ENGINES = Register(0x20, 64)
    FLAGS = Register(
        0x28,
        64,
        traffic_class_a=bits(2, 0),
        traffic_class_b=bits(5, 3),
        use_read_buffer_limit=bit(7),
        read_buffers_reserved=bits(15, 8),
        read_buffers_allowed=bits(27, 20),
        descriptor_progress_limit=bits(33, 32),
        batch_progress_limit=bits(37, 36),
        doc="Linux writes 64 bits, SPDK and DPDK the lower 32",
    )


class QueueConfig(Block):
    """WQCFG. The stride is WQCAP's; the operations bitmap is there with WQCAP.op_config only."""

    SIZE = Register(0x00, entries=bits(15, 0))
    THRESHOLD = Register(0x04, entries=bits(15, 0), doc="how much of a shared queue ordinary users may fill")
    MODE = Register(
        0x08,
        dedicated=bit(0),
        block_on_fault=bit(1),
        ats_disable=bit(2),
        prs_disable=bit(3),
        priority=bits(7, 4),
        pasid=bits(27, 8),
        pasid_enable=bit(28),
        privileged=bit(29),
    )
    LIMITS = Register(
        0x0C,
        max_transfer_shift=bits(4, 0),
        max_batch_shift=bits(8, 5),
        max_sgl_shift=bits(12, 9),
        doc="max_sgl_shift: DSA from version 3 on, reserved before",
    )
    OCCUPANCY_INTERRUPT = Register(
        0x10, handle=bits(15, 0), ims=bit(16), doc="which vector reports the limit; ims: in the IMS table (inferred)"
    )
    OCCUPANCY_LIMIT = Register(0x14, entries=bits(15, 0), enable=bit(16))
    STATUS = Register(
        0x18,
        occupancy=bits(15, 0, "ro"),
        interrupt=bit(16, "rw1c"),
        mode_support=bit(29, "ro"),
        state=bits(31, 30, "ro", QueueState),
    )


class LongQueueConfig(QueueConfig):
    """WQCFG with the operations bitmap, where WQCAP.op_config says so."""

    OPERATIONS = Register(0x20, 256, doc="bit n: the queue takes opcode n")


class Permission(Block):
    """MSI-X permissions: which work may raise a vector. An entry is 8 bytes; vector 0 has one that is not used."""

    ENTRY = Register(0x00, ignore=bit(2), pasid_enable=bit(3), pasid=bits(31, 12))
