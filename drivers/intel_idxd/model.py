# SPDX-License-Identifier: Apache-2.0
"""DSA and IAA of Sapphire Rapids in software: what a driver sees in config space, BAR 0 and the portals.

Where public sources leave a behaviour open there is an option, or "inferred" in the text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from vfio_ims.errors import UsageError
from vfio_ims.models import Bar, DeviceModel, Msix, Option, SlotStore, on_read, on_write
from vfio_ims.models.defects import DEFECTS
from vfio_ims.models.register_file import View
from vfio_ims.registers import Register, RegisterValue

from .commands import Command
from .descriptors import DsaOpcode, Flag, IaaOpcode
from .model_commands import Commands
from .model_errors import Reporter
from .model_executor import Executor
from .model_handles import ModelHandles
from .model_iaa import IAA
from .model_identity import GROUPS, QUEUES, VECTORS, LaterBar0, ModelBar0, declare, identify
from .model_occupancy import Occupancy
from .model_operations import DRAIN_FLAGS, DSA, Operation, operate, reads_back
from .model_queues import ModelQueues
from .model_result import Result
from .registers import Bar0, State
from .status import IaaStatus, Status
from .tables import (
    GROUPS_AT,
    QUEUES_AT,
    SLOTS,
    SLOTS_PER_UNIT,
    LongQueueConfig,
    QueueConfig,
    QueueState,
    queue_stride,
)

if TYPE_CHECKING:
    from vfio_ims.models.options import Value
    from vfio_ims.pci.builder import ConfigBuilder

    from .descriptors import Descriptor
    from .model_engines import Work
    from .model_memory import Memory

__all__ = ["DsaModel", "IaaModel", "IdxdModel"]

_BAR0_SIZE, _BAR2_SIZE = 0x10000, 0x20000
_ENTRIES, _READ_BUFFERS = 128, 96
_OPERATIONS_AT = LongQueueConfig.OPERATIONS.offset
_BASIC_COMMANDS = sum(1 << command for command in Command if command < Command.REQUEST_HANDLE)
_HANDLE_COMMANDS = 1 << Command.REQUEST_HANDLE | 1 << Command.RELEASE_HANDLE


class IdxdModel(DeviceModel):
    """What DSA and IAA have in common."""

    bars = {0: Bar(_BAR0_SIZE, ModelBar0, slots=SLOTS), 2: Bar(_BAR2_SIZE)}
    msix = Msix(vectors=VECTORS, bar=0, table=0x2000, pba=0x3000)
    takes_enqcmd = True
    options: ClassVar[dict[str, Option]] = {
        "slots": Option(SLOTS.count, "entries of the IMS table: a multiple of 256"),
        "version": Option(
            1, "of the device: 1 (Sapphire Rapids), 2 (event log, operations by queue), 3 (Diamond Rapids)"
        ),
        "cmdcap": Option(False, "GENCAP.4 and CMDCAP: interrupt handles must be requested (not so on SPR)"),
        "handles": Option(1 << 15, "with cmdcap: how many interrupt handles there are"),
        "revoke_after": Option(0, "with cmdcap: revoke all handles after so many IMS interrupts; 0: never"),
        "reset_masked": Option(True, "whether slots are masked after power-on: not public"),
        "reset_slots": Option(True, "whether the command RESET_DEVICE clears the slots: inferred"),
        "wq_size": Option(_ENTRIES, "entries of all work queues together"),
        "block_on_fault": Option(
            True, "whether the device can block on faults: real ones differ in this bit of GENCAP"
        ),
        "max_transfer_shift": Option(31, "GENCAP's largest transfer, as a power of two"),
        "command_ms": Option(0, "milliseconds that a command takes at least"),
        "hardware_error": Option(0, "the number of a command, from 1, that fails with a hardware error; 0: none"),
        "hardware_status": Option(0, "each so many-th operation fails with ``hardware_code``; 0: none"),
        "hardware_code": Option(
            0x20, "0x20 hardware error; 0x21 of a readback, 0x22 translation, 0x23 page request, 0x24 watchdog"
        ),
        "traffic_classes": Option(0xFF, "a bit for each traffic class that works; other ones end in status 0x1e"),
        "drain_readback": Option(False, "GENCAP.9: a drain may read back from two addresses (not so on SPR)"),
        "pasid": Option(True, "whether PASIDs are enabled in the function: the kernel does that, not a driver here"),
        "inline": Option(4096, "copies and fills up to so many bytes are done before the next access, in order"),
    }

    kind: ClassVar[str]
    general: ClassVar[int]
    operations: int
    ids: ClassVar[dict[int, str]]
    """PCI ids by version. [which id has version 2: inferred]"""
    later: ClassVar[int]
    """Operations that versions from 2 on add."""
    event_log: ClassVar[int]
    """GENCAP's field from version 2 on: how long an entry is."""
    engines: ClassVar[int]
    engine: ClassVar[dict[int, Operation]]
    """What one engine does."""
    read_buffers: ClassVar[int] = _READ_BUFFERS

    def __init__(self, name: str = "", **given: Value) -> None:
        super().__init__(name, **given)
        option = self.option
        self.generation = 0
        self._every, self._failure, self._done = int(option["hardware_status"]), int(option["hardware_code"]), 0
        self.traffic_classes = int(option["traffic_classes"])
        self.total_size = int(option["wq_size"])
        self.inline_bytes = int(option["inline"])
        self.command_capabilities = _BASIC_COMMANDS | (_HANDLE_COMMANDS if option["cmdcap"] else 0)
        file, block = self.registers(), self.block
        self.permission_rows = [file.row(block.PERMISSIONS, n) for n in range(VECTORS)]
        self.group_rows = [file.row(block.GROUPS, n) for n in range(GROUPS)]
        self.queue_rows: list[View] = [file.row(block.QUEUES, n) for n in range(QUEUES)]
        self.reporter = Reporter(self)
        self.queues = ModelQueues(self, QUEUES)
        self.occupancy = Occupancy(self)
        self.handles = ModelHandles(
            self,
            requested=bool(option["cmdcap"]),
            count=int(option["handles"]),
            revoke_after=int(option["revoke_after"]),
        )
        self.commands = Commands(self, delay=int(option["command_ms"]), hardware_error=int(option["hardware_error"]))
        self.executor = Executor(self)
        general = self._general
        self._missing_flags = (
            (0 if general.cache_control_memory else Flag.CACHE_CONTROL)
            | (0 if general.drain_readback else DRAIN_FLAGS)
            | (0 if general.destination_readback else Flag.READBACK)
            | (0 if general.block_on_fault else Flag.BLOCK_ON_FAULT)
        )
        identify(self)

    def configure(self) -> None:
        slots = int(self.option["slots"])
        if slots % SLOTS_PER_UNIT or not SLOTS_PER_UNIT <= slots <= SLOTS.count:
            why = f"slots must be a multiple of {SLOTS_PER_UNIT} up to {SLOTS.count}, not {slots}"
            raise UsageError("set a model's options", why=why)
        code = int(self.option["hardware_code"])
        if code not in range(Status.HARDWARE, IaaStatus.WATCHDOG + 1):
            raise UsageError("set a model's options", why=f"hardware_code must be 0x20 to 0x24, not {code:#x}")
        self.version = int(self.option["version"])
        if self.version not in self.ids:
            why = f"version must be one of {', '.join(map(str, self.ids))}, not {self.version}"
            raise UsageError("set a model's options", why=why)
        self.id = self.ids[self.version]
        self.block: type[ModelBar0] = ModelBar0
        self.config_size = 0
        if self.version > 1:
            self.block, self.config_size = LaterBar0, 1
            self.operations |= self.later
        self.bars = self.bars | {0: Bar(_BAR0_SIZE, self.block, slots=replace(SLOTS, count=slots))}

    def _slot_store(self, bar: Bar) -> SlotStore:
        assert bar.slots is not None
        kind = DEFECTS.get(str(self.option["defect"]), SlotStore)
        shared, masked = bool(self.option["map_slots"]), bool(self.option["reset_masked"])
        return kind(bar.slots, self.send, shared=shared, reset_masked=masked)

    # --- what it says of itself ---------------------------------------------------------------------------------------

    def capabilities(self, config: ConfigBuilder) -> None:
        declare(self, config)

    @property
    def gencap(self) -> int:
        return Bar0.GENCAP.value(
            self.general,
            command_capabilities=bool(self.option["cmdcap"]),
            block_on_fault=bool(self.option["block_on_fault"]),
            max_transfer_shift=int(self.option["max_transfer_shift"]),
            ims_multiplier=int(self.option["slots"]) // SLOTS_PER_UNIT,
            event_log=self.event_log if self.version > 1 else 0,
            drain_readback=bool(self.option["drain_readback"]),
        )

    @property
    def _general(self) -> RegisterValue:
        return Bar0.GENCAP.value(self.gencap)

    @property
    def max_transfer_shift(self) -> int:
        return self._general.max_transfer_shift

    @property
    def max_batch_shift(self) -> int:
        return self._general.max_batch_shift

    @property
    def can_block(self) -> bool:
        return bool(self._general.block_on_fault)

    @property
    def pasid_enabled(self) -> bool:
        return bool(self.option["pasid"])

    @property
    def plain_shared(self) -> bool:
        """Whether a shared queue may do without PASIDs: the hardware wants them, a model has no process to tell of."""
        return True

    def operations_of(self, queue: int) -> int:
        """The operations that ``queue`` does, a bit each."""
        if self.version > 1:
            return self.operations & self.queue_rows[queue].get(LongQueueConfig.OPERATIONS)
        return self.operations

    def flags_of(self, opcode: int) -> int:
        """Flags that the operation allows beside those of completion, as far as the device has them."""
        operation = self.engine.get(opcode)
        if operation is None:
            return Flag.ADDRESS1_CLASS | Flag.BLOCK_ON_FAULT if opcode == DsaOpcode.BATCH else 0
        missing = self._missing_flags
        return operation.flags & ~(missing if opcode == DsaOpcode.DRAIN else missing & ~DRAIN_FLAGS)

    def failure(self, descriptor: Descriptor) -> int:
        """The status of the operation that was just done, where it is one that must fail; else 0."""
        if not self._every or (self._failure == Status.HARDWARE_READBACK and not reads_back(descriptor)):
            return 0
        self._done += 1
        return 0 if self._done % self._every else self._failure

    def operate(self, executor: Executor, memory: Memory, work: Work, descriptor: Descriptor) -> Result:
        """Do one operation."""
        return operate(self, executor, memory, work, descriptor, self.engine)

    # --- accesses -----------------------------------------------------------------------------------------------------

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region == 2:
            self.queues.store(offset, data)
        elif region != 0 or not self._locked(offset):
            super().write(region, offset, data)

    def _locked(self, offset: int) -> bool:
        """Configuration that is in use keeps its value. [inferred: a driver never writes it then]"""
        if not GROUPS_AT <= offset < QUEUES_AT + QUEUES * queue_stride(self.config_size):
            return False
        if self.registers().get(Bar0.GENSTS).state == State.DISABLED:
            return False
        if offset < QUEUES_AT:
            return True
        queue, at = divmod(offset - QUEUES_AT, queue_stride(self.config_size))
        if at < QueueConfig.THRESHOLD.offset:
            return True
        free = at < QueueConfig.MODE.offset or QueueConfig.OCCUPANCY_INTERRUPT.offset <= at < _OPERATIONS_AT
        return not free and self.queues.entry(queue).state != QueueState.DISABLED

    def enqueue(self, region: int, offset: int, data: bytes) -> bool:
        """ENQCMD from a link that can carry its answer."""
        return region == 2 and self.queues.enqueue(offset, data)

    @on_read(QueueConfig.STATUS)
    def show_occupancy(self, queue: int) -> None:
        self.queue_rows[queue].update(QueueConfig.STATUS, occupancy=self.queues.backlog[queue])

    @on_write(QueueConfig.OCCUPANCY_LIMIT, QueueConfig.STATUS)
    def watch_occupancy(self, queue: int, value: RegisterValue) -> None:
        self.occupancy.look(queue)

    @on_write(Bar0.CMD)
    def command(self, value: RegisterValue) -> None:
        self.commands.issue(value)

    # --- resets -------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Function-level reset: as after power-on."""
        self.generation += 1
        self.queues.reset()
        self.handles.reset()
        super().reset()
        identify(self)

    def reset_device(self) -> None:
        """The command: queues, groups, permissions, GENCFG and GENCTRL as after power-on, and the slots. [slots:

        inferred; Linux programs permissions and GENCTRL anew after it]
        """
        registers = self.registers()
        self.queues.reset()
        self.handles.reset()
        keep: tuple[Register, ...] = (Bar0.CMDSTS, Bar0.INTCAUSE, Bar0.SWERR)
        kept = [registers.get(register) for register in keep]
        registers.reset()
        for register, value in zip(keep, kept, strict=True):
            registers.set(register, value)
        identify(self)
        if self.option["reset_slots"]:
            self.slots.reset()

    def clear_queue(self, queue: int) -> None:
        """RESET_WQ: everything but size and threshold, which the enabled device holds on to."""
        row = self.queue_rows[queue]
        for register in (QueueConfig.MODE, QueueConfig.LIMITS, QueueConfig.OCCUPANCY_INTERRUPT):
            row.set(register, 0)
        row.set(QueueConfig.OCCUPANCY_LIMIT, 0)
        row.set(QueueConfig.STATUS, mode_support=1)

    def close(self) -> None:
        self.generation += 1
        self.queues.reset()
        super().close()
        self.queues.engines.close()
        self.commands.close()


class DsaModel(IdxdModel):
    """8086:0b25: 8 queues with 128 entries, 4 groups, 4 engines, 2048 slots, 9 vectors."""

    kind = "dsa"
    ids: ClassVar[dict[int, str]] = {1: "8086:0b25", 2: "8086:11fb", 3: "8086:1212"}
    later, event_log = 1 << DsaOpcode.TRANSLATION_FETCH | 1 << DsaOpcode.DIX_GENERATE, 1
    general = 0x40_915F_0107
    operations = 0x1_003F_03FF  # sysfs op_cap: 00000001,003f03ff
    engines, engine = 4, DSA


class IaaModel(IdxdModel):
    """8086:0cfe: 8 queues with 128 entries, 4 groups, 8 engines, 2048 slots, 9 vectors."""

    kind = "iaa"
    ids: ClassVar[dict[int, str]] = {1: "8086:0cfe", 2: "8086:0cfe", 3: "8086:1216"}
    later = 1 << IaaOpcode.TRANSLATION_FETCH | 1 << IaaOpcode.ZCOMPRESS8 | 1 << IaaOpcode.ZDECOMPRESS8
    event_log = 2
    general = 0x7_1F10_901F_0105
    operations = 0x7F_331C << 64 | 0xD  # sysfs op_cap: ...,007f331c,00000000,0000000d
    engines, engine, read_buffers = 8, IAA, 0  # IAA has no control of read buffers (Linux, idxd/sysfs.c)
