# SPDX-License-Identifier: Apache-2.0
"""The registers of Intel's DSA and IAA in BAR 0, shared by driver and model.

Offsets and fields: Linux ``drivers/dma/idxd/registers.h``, cross-checked with SPDK ``include/spdk/idxd_spec.h`` and
DPDK ``drivers/dma/idxd/idxd_hw_defs.h``. Little endian. The tables that ``OFFSETS`` points at are in ``tables.py``.
"""

from __future__ import annotations

from enum import IntEnum

from vfio_ims.registers import Block, Register, bit, bits

__all__ = ["MAX_SGL_SHIFT", "TABLE_UNIT", "Bar0", "Cause", "ResetNeeded", "State"]

TABLE_UNIT = 0x100
"""What the fields of ``OFFSETS`` count."""


MAX_SGL_SHIFT = bits(3, 0)
"""Of DSACAP0: how many entries a scatter-gather list has at most, as a power of 2 (Linux, union dsacap0_reg)."""


class State(IntEnum):
    """GENSTS 1:0."""

    DISABLED = 0
    ENABLED = 1
    DRAIN = 2
    HALT = 3


class ResetNeeded(IntEnum):
    """GENSTS 3:2: what ends a halt."""

    SOFTWARE = 0
    FUNCTION = 1
    WARM = 2
    COLD = 3


class Cause(IntEnum):
    """Bits of INTCAUSE, raised on MSI-X vector 0."""

    SOFTWARE_ERROR = 0
    COMMAND = 1
    OCCUPANCY = 2
    PERFMON = 3
    HALT = 4
    EVENT_LOG = 5
    HANDLES_REVOKED = 31


class Bar0(Block):
    """The registers at fixed offsets."""

    VERSION = Register(
        0x00, access="ro", minor=bits(7, 0), major=bits(15, 8), doc="0x100 is Sapphire Rapids (dsa-perf-micros' split)"
    )
    GENCAP = Register(
        0x10,
        64,
        "ro",
        block_on_fault=bit(0),
        overlapping_copy=bit(1),
        cache_control_memory=bit(2),
        cache_control_flush=bit(3),
        command_capabilities=bit(4),
        destination_readback=bit(8),
        drain_readback=bit(9),
        event_log=bits(14, 13),
        batch_continuation=bit(15),
        max_transfer_shift=bits(20, 16),
        max_batch_shift=bits(24, 21),
        ims_multiplier=bits(30, 25),
        configurable=bit(31),
        doc="IMS entries = ims_multiplier x 256; bits 63:32 are reserved in Linux and not zero on silicon",
    )
    WQCAP = Register(
        0x20,
        64,
        "ro",
        total_size=bits(15, 0),
        queues=bits(23, 16),
        config_size=bits(27, 24),
        shared=bit(48),
        dedicated=bit(49),
        ats=bit(50),
        priority=bit(51),
        occupancy=bit(52),
        occupancy_interrupt=bit(53),
        op_config=bit(54),
        prs=bit(55),
        doc="bytes of a queue's configuration: 1 << (5 + config_size)",
    )
    GRPCAP = Register(
        0x30,
        64,
        "ro",
        groups=bits(7, 0),
        read_buffers=bits(15, 8),
        read_buffer_control=bit(16),
        read_buffer_limit=bit(17),
        progress_limit=bit(18),
    )
    ENGCAP = Register(0x38, 64, "ro", engines=bits(7, 0))
    OPCAP = Register(0x40, 256, "ro", doc="bit n: opcode n is supported")
    OFFSETS = Register(
        0x60,
        128,
        "ro",
        groups=bits(15, 0),
        queues=bits(31, 16),
        permissions=bits(47, 32),
        ims=bits(63, 48),
        perfmon=bits(79, 64),
        doc="where the tables are in BAR 0, in units of 0x100",
    )
    GENCFG = Register(0x80, read_buffer_limit=bits(7, 0), user_interrupts=bit(12), event_log=bit(13))
    GENCTRL = Register(0x88, software_error=bit(0), halt=bit(1), event_log=bit(2), doc="interrupts on vector 0")
    GENSTS = Register(0x90, access="ro", state=bits(1, 0, enum=State), reset_needed=bits(3, 2, enum=ResetNeeded))
    INTCAUSE = Register(
        0x98,
        access="rw1c",
        software_error=bit(0),
        command=bit(1),
        occupancy=bit(2),
        perfmon=bit(3),
        halt=bit(4),
        event_log=bit(5),
        handles_revoked=bit(31),
        doc="why vector 0 was raised; Linux writes back what it read",
    )
    CMD = Register(0xA0, access="wo", operand=bits(19, 0), command=bits(24, 20), interrupt=bit(31))
    CMDSTS = Register(0xA8, access="ro", error=bits(7, 0), result=bits(23, 8), active=bit(31))
    CMDCAP = Register(0xB0, access="ro", doc="bit n: command n is supported; only where GENCAP has it")
    SWERR = Register(
        0xC0,
        256,
        "ro",
        valid=bit(0, "rw1c"),
        overflow=bit(1, "rw1c"),
        descriptor_valid=bit(2),
        queue_valid=bit(3),
        batch=bit(4),
        write=bit(5),
        privileged=bit(6),
        error=bits(15, 8),
        queue=bits(23, 16),
        operation=bits(39, 32),
        pasid=bits(59, 40),
        batch_index=bits(79, 64),
        invalid_flags=bits(127, 96),
        address=bits(191, 128),
        doc="the first software error; overflow: there were more. Acknowledged by writing 1 to valid and overflow",
    )
    EVLCFG = Register(
        0xE0,
        128,
        pasid_enable=bit(0),
        privileged=bit(1),
        base=bits(63, 12),
        size=bits(79, 64),
        pasid=bits(99, 80),
        doc="the event log: base in 4 KiB pages, size in entries, 64 or more",
    )
    EVLSTATUS = Register(0xF0, 64, head=bits(15, 0), tail=bits(47, 32, "ro"), interrupt=bit(62, "rw1c"))
    CAP0 = Register(0x180, 64, "ro", doc="IAACAP from IAA version 2 on, DSACAP0 from DSA version 3 on")
    CAP1 = Register(0x188, 64, "ro", doc="DSACAP1, DSA version 3")
    CAP2 = Register(0x190, 64, "ro", doc="DSACAP2, DSA version 3")
