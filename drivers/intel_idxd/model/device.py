# SPDX-License-Identifier: Apache-2.0
"""DSA and IAA of Sapphire Rapids in software: what a driver sees in config space, BAR 0 and the portals.

Where public sources leave a behaviour open there is an option, or "inferred" in the text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from vfio_ims.errors import UsageError
from vfio_ims.models import DeviceModel, ModelBar, Msix, Option, SlotStore, on_read, on_write
from vfio_ims.registers import Register, RegisterValue, SlotLayout

from ..hardware.commands import Command
from ..hardware.descriptors import DsaOpcode, IaaOpcode
from ..hardware.registers import Bar0, Cause, ResetNeeded, State
from ..hardware.status import IaaStatus, Status
from ..hardware.tables import (
    GROUPS_AT,
    QUEUES_AT,
    SLOTS,
    SLOTS_PER_UNIT,
    LongQueueConfig,
    QueueConfig,
    QueueState,
    queue_stride,
)
from .commands import Commands
from .dsa_operations import DSA, ModelOperation
from .engines import Engines
from .executor import Executor
from .iaa_operations import IAA
from .identity import declare, identify
from .injected_failures import InjectedFailures
from .interrupt_handles import InterruptHandles
from .layout import QUEUES, VECTORS, LaterBar0, ModelBar0
from .occupancy import Occupancy
from .reporter import Reporter
from .state import Characteristics, ModelState
from .work_queues import WorkQueues

if TYPE_CHECKING:
    from vfio_ims.models.options import Value
    from vfio_ims.pci.builder import ConfigBuilder

__all__ = ["DsaModel", "IaaModel", "IdxdModel"]

_BAR0_SIZE, _BAR2_SIZE = 0x10000, 0x20000
_ENTRIES, _READ_BUFFERS = 128, 96
_OPERATIONS_AT = LongQueueConfig.OPERATIONS.offset
_BASIC_COMMANDS = sum(1 << command for command in Command if command < Command.REQUEST_HANDLE)
_HANDLE_COMMANDS = 1 << Command.REQUEST_HANDLE | 1 << Command.RELEASE_HANDLE


class IdxdModel(DeviceModel):
    """What DSA and IAA have in common."""

    bars = {0: ModelBar(_BAR0_SIZE, ModelBar0, slots=SLOTS), 2: ModelBar(_BAR2_SIZE)}
    msix = Msix(vectors=VECTORS, bar=0, table=0x2000, pba=0x3000)
    takes_enqcmd = True
    words_are_stored = True
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
    """GENCAP, but for what options decide."""
    operations: ClassVar[int]
    """OPCAP of version 1."""
    ids: ClassVar[dict[int, str]]
    """PCI ids by version. [which id has version 2: inferred]"""
    later: ClassVar[int]
    """Operations that versions from 2 on add."""
    event_log: ClassVar[int]
    """GENCAP's field from version 2 on: how long an entry is."""
    engine_count: ClassVar[int]
    engine: ClassVar[dict[int, ModelOperation]]
    """What one engine does, by opcode."""
    read_buffers: ClassVar[int] = _READ_BUFFERS

    def __init__(self, name: str = "", **given: Value) -> None:
        super().__init__(name, **given)
        option = self.option
        self.state = state = ModelState(
            self._characteristics(),
            name=self.name,
            lock=self.lock,
            registers=self.registers(),
            block=self.block,
            slots=self.slots,
            bus=lambda: self._bus if self.config.bus_master else None,
            raise_vector=self.raise_vector,
            after=self.after,
        )
        self.reporter = Reporter(state)
        self.handles = InterruptHandles(
            state,
            self.reporter,
            requested=bool(option["cmdcap"]),
            count=int(option["handles"]),
            revoke_after=int(option["revoke_after"]),
        )
        self.occupancy = Occupancy(state, self.handles, self.reporter)
        failures = InjectedFailures(int(option["hardware_status"]), int(option["hardware_code"]))
        self.executor = Executor(state, self.handles, self.reporter, self.engine, failures)
        self.engines = Engines(state, self.occupancy, self.executor)
        self.queues = WorkQueues(state, self.engines, self.reporter)
        self.commands = Commands(
            state,
            self.queues,
            self.engines,
            self.handles,
            self.reporter,
            self.reset_device,
            delay=int(option["command_ms"]),
            hardware_error=int(option["hardware_error"]),
        )
        identify(state)

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
        self._locks_end = QUEUES_AT + QUEUES * queue_stride(self.config_size)
        self.bars = self.bars | {0: ModelBar(_BAR0_SIZE, self.block, slots=replace(SLOTS, count=slots))}

    def _slot_store(self, layout: SlotLayout) -> SlotStore:
        shared, masked = bool(self.option["map_slots"]), bool(self.option["reset_masked"])
        return self.store_kind(layout, self.send, shared=shared, reset_masked=masked)

    # --- what it says of itself ---------------------------------------------------------------------------------------

    def capabilities(self, config: ConfigBuilder) -> None:
        assert self.msix is not None
        declare(config, self.msix, self.siov_dvsecs(), flr=bool(self.option["flr"]))

    def _characteristics(self) -> Characteristics:
        option, later = self.option, self.version > 1
        gencap = Bar0.GENCAP.value(
            self.general,
            command_capabilities=bool(option["cmdcap"]),
            block_on_fault=bool(option["block_on_fault"]),
            max_transfer_shift=int(option["max_transfer_shift"]),
            ims_multiplier=int(option["slots"]) // SLOTS_PER_UNIT,
            event_log=self.event_log if later else 0,
            drain_readback=bool(option["drain_readback"]),
        )
        return Characteristics(
            kind=self.kind,
            version=self.version,
            gencap=gencap,
            operations=self.operations | (self.later if later else 0),
            engines=self.engine_count,
            read_buffers=self.read_buffers,
            total_size=int(option["wq_size"]),
            config_size=self.config_size,
            command_capabilities=_BASIC_COMMANDS | (_HANDLE_COMMANDS if option["cmdcap"] else 0),
            shows_command_capabilities=bool(option["cmdcap"]),
            traffic_classes=int(option["traffic_classes"]),
            pasid_enabled=bool(option["pasid"]),
            inline_bytes=int(option["inline"]),
        )

    # --- accesses -----------------------------------------------------------------------------------------------------

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region == 2:
            self.queues.store(offset, data)
        elif region != 0 or not self._locked(offset):
            super().write(region, offset, data)

    @property
    def writes_looked_at(self) -> range:
        """The configuration of groups and queues, which is locked while it is in use."""
        return range(GROUPS_AT, self._locks_end)

    def _locked(self, offset: int) -> bool:
        """Configuration that is in use keeps its value (inferred: a driver never writes it then)."""
        if not GROUPS_AT <= offset < self._locks_end:
            return False
        if self.state.device_state == State.DISABLED:
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
        self.state.queues[queue].update(QueueConfig.STATUS, occupancy=self.state.backlog[queue])

    @on_write(QueueConfig.OCCUPANCY_LIMIT, QueueConfig.STATUS)
    def watch_occupancy(self, queue: int, value: RegisterValue) -> None:
        self.occupancy.check(queue)

    @on_write(Bar0.CMD)
    def command(self, value: RegisterValue) -> None:
        self.commands.issue(value)

    # --- resets -------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Function-level reset: as after power-on."""
        self.state.generation += 1
        self.queues.reset()
        self.handles.reset()
        super().reset()
        identify(self.state)

    def reset_device(self) -> None:
        """RESET_DEVICE: queues, groups, permissions, GENCFG and GENCTRL as after power-on, and the slots.

        The slots are inferred. Linux programs permissions and GENCTRL anew after it.
        """
        registers = self.registers()
        self.queues.reset()
        self.handles.reset()
        keep: tuple[Register, ...] = (Bar0.CMDSTS, Bar0.INTCAUSE, Bar0.SWERR)
        kept = [registers.get(register) for register in keep]
        registers.reset()
        for register, value in zip(keep, kept, strict=True):
            registers.set(register, value)
        identify(self.state)
        if self.option["reset_slots"]:
            self.slots.reset()

    def halt(self, needed: ResetNeeded) -> None:
        """Stop as after a fatal error: drop all work, and say which reset the device wants."""
        registers = self.registers()
        registers.set(Bar0.GENSTS, state=State.HALT, reset_needed=needed)
        self.queues.reset()
        if registers.get(Bar0.GENCTRL).halt:
            self.reporter.cause(Cause.HALT)

    def close(self) -> None:
        self.state.generation += 1
        self.queues.reset()
        super().close()
        self.engines.close()
        self.commands.close()


class DsaModel(IdxdModel):
    """8086:0b25: 8 queues with 128 entries, 4 groups, 4 engines, 2048 slots, 9 vectors."""

    kind = "dsa"
    ids: ClassVar[dict[int, str]] = {1: "8086:0b25", 2: "8086:11fb", 3: "8086:1212"}
    later, event_log = 1 << DsaOpcode.TRANSLATION_FETCH | 1 << DsaOpcode.DIX_GENERATE, 1
    general = 0x40_915F_0107
    operations = 0x1_003F_03FF  # sysfs op_cap: 00000001,003f03ff
    engine_count, engine = 4, DSA


class IaaModel(IdxdModel):
    """8086:0cfe: 8 queues with 128 entries, 4 groups, 8 engines, 2048 slots, 9 vectors."""

    kind = "iaa"
    ids: ClassVar[dict[int, str]] = {1: "8086:0cfe", 2: "8086:0cfe", 3: "8086:1216"}
    later = 1 << IaaOpcode.TRANSLATION_FETCH | 1 << IaaOpcode.ZCOMPRESS8 | 1 << IaaOpcode.ZDECOMPRESS8
    event_log = 2
    general = 0x7_1F10_901F_0105
    operations = 0x7F_331C << 64 | 0xD  # sysfs op_cap: ...,007f331c,00000000,0000000d
    engine_count, engine, read_buffers = 8, IAA, 0  # IAA has no control of read buffers (Linux, idxd/sysfs.c)
