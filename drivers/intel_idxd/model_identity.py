# SPDX-License-Identifier: Apache-2.0
"""What the model of a DSA or IAA says of itself: config space, capability registers and where the tables are.

Config space: two independent listings of real 8086:0b25 functions. Capability values: accel-config's JSON of real
machines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import vfio_ims.pci.capabilities as pci
from vfio_ims.registers import Repeat

from .registers import TABLE_UNIT, Bar0
from .tables import (
    GROUP_STRIDE,
    GROUPS_AT,
    PERFMON_AT,
    PERMISSION_STRIDE,
    PERMISSIONS_AT,
    QUEUES_AT,
    SLOTS,
    GroupConfig,
    LongQueueConfig,
    Permission,
    QueueConfig,
    queue_stride,
)

if TYPE_CHECKING:
    from vfio_ims.pci.builder import ConfigBuilder

    from .model import IdxdModel

__all__ = ["GROUPS", "QUEUES", "VECTORS", "LaterBar0", "ModelBar0", "declare", "identify"]

VECTORS, QUEUES, GROUPS = 9, 8, 4
_DSA3_CAPABILITIES = 0x00FA_01FF_01FF_03FF, 0x0014_000E_0000_07AA, 0xF18D
"""Of a DSA of version 3, as its sysfs showed them (Linux commit 8308510b93650)."""


class ModelBar0(Bar0):
    """Bar0 with the tables where Sapphire Rapids has them."""

    PERMISSIONS = Repeat(Permission, PERMISSIONS_AT, VECTORS, PERMISSION_STRIDE)
    GROUPS = Repeat(GroupConfig, GROUPS_AT, GROUPS, GROUP_STRIDE)
    QUEUES: Repeat[QueueConfig] = Repeat(QueueConfig, QUEUES_AT, QUEUES, queue_stride(0))


class LaterBar0(ModelBar0):
    """With room for the operations of each queue: version 2 on."""

    QUEUES = Repeat(LongQueueConfig, QUEUES_AT, QUEUES, queue_stride(1))


def declare(model: IdxdModel, config: ConfigBuilder) -> None:
    """The capabilities of config space."""
    assert model.msix is not None
    kind = pci.PortType.ROOT_COMPLEX_INTEGRATED_ENDPOINT
    flr = bool(model.option["flr"])
    config.add(pci.Express.new(kind, max_payload=512, ltr=True, flr=flr, prefixes=1), at=0x40)
    config.add(model.msix.capability(), at=0x80)
    config.add(pci.PowerManagement.new(), at=0x90)
    config.add(pci.AdvancedErrorReporting.new(version=2), at=0x100)
    config.add(pci.LatencyTolerance.new(), at=0x150)
    config.add(pci.ProcessingHints.new(), at=0x160)
    config.add(pci.VirtualChannel.new(), at=0x170)
    *others, last = [None, *model.siov_dvsecs()]
    for other in others:
        if other is not None:
            config.add(other, at=0x300)
    if last is not None:
        config.add(last, at=0x200)
    config.add(pci.AddressTranslation.new(32), at=0x220)
    config.add(pci.Pasid.new(20), at=0x230)
    config.add(pci.PageRequest.new(512), at=0x240)


def identify(model: IdxdModel) -> None:
    """The capability registers."""
    registers = model.registers()
    registers.set(Bar0.VERSION, model.version << 8)
    registers.set(Bar0.GENCAP, model.gencap)
    registers.set(
        Bar0.WQCAP,
        total_size=model.total_size,
        queues=QUEUES,
        config_size=model.config_size,
        shared=1,
        dedicated=1,
        ats=1,
        priority=1,
        occupancy=1,
        occupancy_interrupt=1,
        op_config=model.version > 1,
    )
    registers.set(
        Bar0.GRPCAP,
        groups=GROUPS,
        read_buffers=model.read_buffers,
        read_buffer_control=bool(model.read_buffers),
        read_buffer_limit=bool(model.read_buffers),  # accel-config writes it always; Linux refuses that without the bit
        progress_limit=model.version > 1,  # Linux says of these limits that DSA 2.0 brought them
    )
    registers.set(Bar0.ENGCAP, engines=model.engines)
    registers.set(Bar0.OPCAP, model.operations)
    registers.set(
        Bar0.OFFSETS,
        groups=GROUPS_AT // TABLE_UNIT,
        queues=QUEUES_AT // TABLE_UNIT,
        permissions=PERMISSIONS_AT // TABLE_UNIT,
        ims=SLOTS.offset // TABLE_UNIT,
        perfmon=PERFMON_AT // TABLE_UNIT,
    )
    if model.option["cmdcap"]:
        registers.set(Bar0.CMDCAP, model.command_capabilities)
    if model.version > 2:
        for register, value in zip((Bar0.CAP0, Bar0.CAP1, Bar0.CAP2), _DSA3_CAPABILITIES, strict=True):
            registers.set(register, value)
    for row in model.queue_rows:
        row.set(QueueConfig.STATUS, mode_support=1)
