# SPDX-License-Identifier: Apache-2.0
"""What the model of a DSA or IAA says of itself: config space, capability registers and where the tables are.

Config space: two independent listings of real 8086:0b25 functions. Capability values: accel-config's JSON of real
machines.
"""

from __future__ import annotations

from collections.abc import Sequence

import vfio_ims.pci.capabilities as pci
from vfio_ims.models import Msix
from vfio_ims.pci.builder import ConfigBuilder

from ..hardware.registers import TABLE_UNIT, Bar0
from ..hardware.tables import GROUPS_AT, PERFMON_AT, PERMISSIONS_AT, QUEUES_AT, SLOTS, QueueConfig
from .layout import GROUPS, QUEUES
from .state import ModelState

__all__ = ["declare", "identify"]

_DSA3_CAPABILITIES = 0x00FA_01FF_01FF_03FF, 0x0014_000E_0000_07AA, 0xF18D
"""Of a DSA of version 3, as its sysfs showed them (Linux commit 8308510b93650)."""


def declare(config: ConfigBuilder, msix: Msix, dvsecs: Sequence[pci.Dvsec], *, flr: bool) -> None:
    """Put the capabilities into config space."""
    kind = pci.PortType.ROOT_COMPLEX_INTEGRATED_ENDPOINT
    config.add(pci.Express.new(kind, max_payload=512, ltr=True, flr=flr, prefixes=1), at=0x40)
    config.add(msix.capability(), at=0x80)
    config.add(pci.PowerManagement.new(), at=0x90)
    config.add(pci.AdvancedErrorReporting.new(version=2), at=0x100)
    config.add(pci.LatencyTolerance.new(), at=0x150)
    config.add(pci.ProcessingHints.new(), at=0x160)
    config.add(pci.VirtualChannel.new(), at=0x170)
    *others, last = [None, *dvsecs]
    for other in others:
        if other is not None:
            config.add(other, at=0x300)
    if last is not None:
        config.add(last, at=0x200)
    config.add(pci.AddressTranslation.new(32), at=0x220)
    config.add(pci.Pasid.new(20), at=0x230)
    config.add(pci.PageRequest.new(512), at=0x240)


def identify(state: ModelState) -> None:
    """Set the capability registers."""
    registers, this = state.registers, state.characteristics
    registers.set(Bar0.VERSION, this.version << 8)
    registers.set(Bar0.GENCAP, this.gencap)
    registers.set(
        Bar0.WQCAP,
        total_size=this.total_size,
        queues=QUEUES,
        config_size=this.config_size,
        shared=1,
        dedicated=1,
        ats=1,
        priority=1,
        occupancy=1,
        occupancy_interrupt=1,
        op_config=this.version > 1,
    )
    registers.set(
        Bar0.GRPCAP,
        groups=GROUPS,
        read_buffers=this.read_buffers,
        read_buffer_control=bool(this.read_buffers),
        read_buffer_limit=bool(this.read_buffers),  # accel-config writes it always; Linux refuses that without the bit
        progress_limit=this.version > 1,  # Linux says of these limits that DSA 2.0 brought them
    )
    registers.set(Bar0.ENGCAP, engines=this.engines)
    registers.set(Bar0.OPCAP, this.operations)
    registers.set(
        Bar0.OFFSETS,
        groups=GROUPS_AT // TABLE_UNIT,
        queues=QUEUES_AT // TABLE_UNIT,
        permissions=PERMISSIONS_AT // TABLE_UNIT,
        ims=SLOTS.offset // TABLE_UNIT,
        perfmon=PERFMON_AT // TABLE_UNIT,
    )
    if this.shows_command_capabilities:
        registers.set(Bar0.CMDCAP, this.command_capabilities)
    if this.version > 2:
        for register, value in zip((Bar0.CAP0, Bar0.CAP1, Bar0.CAP2), _DSA3_CAPABILITIES, strict=True):
            registers.set(register, value)
    for row in state.queues:
        row.set(QueueConfig.STATUS, mode_support=1)
