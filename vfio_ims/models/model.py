# SPDX-License-Identifier: Apache-2.0
"""The base of every device model: config space, registers, slots, interrupts; the vendor's model adds behaviour."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vfio_ims.clock import current_clock
from vfio_ims.errors import UsageError, explain_unknown
from vfio_ims.interruption import uninterrupted
from vfio_ims.locks import make_rlock
from vfio_ims.models.aer import record_uncorrectable
from vfio_ims.models.bar import ModelBar, Msix
from vfio_ims.models.bar_memory import BarMemory
from vfio_ims.models.config_space import ModelConfig
from vfio_ims.models.declared import bar_fault, hook_fault
from vfio_ims.models.defects import DEFECTS, shown_by
from vfio_ims.models.hooks import collect
from vfio_ims.models.infos import irq_info, region_info
from vfio_ims.models.options import Option, Value, parse_options
from vfio_ims.models.plain import PlainAccess
from vfio_ims.models.register_file import RegisterFile
from vfio_ims.models.slot_store import SlotStore
from vfio_ims.models.sparse_registers import register_file
from vfio_ims.models.watcher import Watcher
from vfio_ims.pci.builder import ConfigBuilder
from vfio_ims.pci.capabilities import Dvsec, Express, ModelMark, Msi, SiovDvsec, Uncorrectable
from vfio_ims.pci.header import Status
from vfio_ims.pci.image import ConfigImage
from vfio_ims.ports.model import SharedArea
from vfio_ims.ports.values import DeviceFlags, DeviceInfo, IrqIndex, IrqInfo, RegionIndex, RegionInfo
from vfio_ims.registers import MEMORY, RegisterValue, SlotLayout

if TYPE_CHECKING:
    from vfio_ims.ports.model import Bus

__all__ = ["DeviceModel"]

_STATUS = 0x06
_DVSECS = ("ims", "no-ims", "absent", "second")


class DeviceModel:
    """One PCI function. A subclass declares ``id``, ``bars`` and ``msix``, and hooks registers with ``on_write``.

    An access is answered first; what it sets off (hooks, unmasked slots) runs in ``act``. ``bus`` is the way out: it
    carries nothing while bus mastering is off, as hardware. ``lock`` is held in every method that a mount calls.
    """

    id: str
    class_code: int = 0x088000  # base system peripheral, other
    bars: dict[int, ModelBar] = {}
    msix: Msix | None = None
    msi: int = 0
    """How many MSI vectors it has: 0, 1, 2, 4 to 32."""
    interrupt_pin: str | None = None
    """The INTx pin, "A" to "D"; None: it has none."""
    options: ClassVar[dict[str, Option]] = {}
    common_options: ClassVar[dict[str, Option]] = {
        "defect": Option("none", "a fault built in on purpose, one that this model can show"),
        "flr": Option(True, "whether the function has a reset"),
        "dvsec": Option(
            "ims", "the SIOV DVSEC: with the IMS bit, without it, none, or after another vendor's", _DVSECS
        ),
        "map_slots": Option(False, "offer the slot table as shared memory for mapping"),
    }

    def __init__(self, name: str = "", **given: Value) -> None:
        self.name = name or type(self).__name__
        self.option = parse_options(self.common_options | self.options, given)
        self.configure()
        self.lock = make_rlock()
        self.clock = current_clock()
        """What the device's time goes by: ``clock.call_later(seconds, action)``, where it waits for something."""
        self._bus: Bus | None = None
        self._actions: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._after_write, self._before_read = collect(self, "_after_write"), collect(self, "_before_read")
        why = bar_fault(self.bars) or hook_fault(self.bars, self._after_write, self._before_read)
        if why:
            raise UsageError(f"make the model {type(self).__name__}", why=why, hint="docs/contract.md, Models")
        self._files = {n: register_file(bar.block, bar.size) for n, bar in self.bars.items() if not bar.memory}
        self._memories = {number: BarMemory(bar.size) for number, bar in self.bars.items() if bar.memory}
        on_flr = self._reset_after_access if self.option["flr"] else None
        self.config = ModelConfig(self._config_image(), on_flr, on_wake=self._reset_after_access)
        self.tables = [self._slot_store(layout) for layout in self.slot_layouts()]
        """Every slot table, in the order of its declaration."""
        self._tables_of = {bar: tuple(t for t in self.tables if t.layout.bar == bar) for bar in range(6)}
        writer = self._writer = next(kind for kind in type(self).__mro__ if "write" in vars(kind))
        stored = vars(writer).get("words_are_stored", False)
        self._word_stores = {bar: tables[0] for bar, tables in self._tables_of.items() if stored and len(tables) == 1}
        reader = next(kind for kind in type(self).__mro__ if "read" in vars(kind))
        self._reads_plainly = vars(reader).get("reads_are_plain", False) and type(self).act is DeviceModel.act
        self._watcher = None
        if any(store.fd >= 0 for store in self.tables):
            self._watcher = Watcher(tuple(self.tables), self.lock, self.name)
        self._check_defect()

    def _check_defect(self) -> None:
        """UsageError where the defect that was asked for would be ignored."""
        name = str(self.option["defect"])
        known = self.shown_defects() | set(self.own_defects)
        if name != "none" and name not in known:
            self._close_parts()
            why = explain_unknown("defect", name, ["none", *known])
            raise UsageError("set a model's options", why=f"{why}: {self.name} cannot show another")

    def _config_image(self) -> ConfigImage:
        vendor, device = (int(part, 16) for part in self.id.split(":"))
        builder = ConfigBuilder(
            vendor, device, class_code=self.class_code, interrupt_pin=self.interrupt_pin,
            immediate_readiness=self.immediately_ready,
        )  # fmt: skip
        for number, bar in self.bars.items():
            builder.bar(number, bar.size, "mem64", prefetchable=bar.prefetchable)
        self.capabilities(builder)
        builder.add(ModelMark.new(accepts_enqcmd=self.takes_enqcmd))
        return builder.build()

    def _reset_after_access(self) -> None:
        self.after(self.reset)

    def _slot_store(self, layout: SlotLayout) -> SlotStore:
        shared = bool(self.option["map_slots"]) and layout.bar != MEMORY
        return self.store_kind(layout, self.send, shared=shared, reset_masked=self.reset_masked)

    # --- what a vendor's model uses and overrides ---------------------------------------------------------------------

    immediately_ready: ClassVar[bool] = False
    """Whether it says that it is ready at once after a reset: Linux' ``pcie_flr`` then does not sleep for 0.1 s."""
    takes_enqcmd: bool = False
    reset_masked: bool = True
    """Whether slots are masked after power-on."""
    words_are_stored: ClassVar[bool] = True
    """Whether this class's own ``write`` only stores what is written to slot tables. One that overrides ``write`` and
    does not look at those says so again, and tables are written faster."""
    reads_are_plain: ClassVar[bool] = True
    """Whether this class's own ``read`` does nothing of its own for registers and slot tables. One that overrides
    ``read`` and does not look at those says so again, and they are read faster."""

    @property
    def writes_looked_at(self) -> range | None:
        """Where in BARs of registers the ``write`` of the class that says this does more than store; None: anywhere."""
        return range(0)

    own_defects: ClassVar[tuple[str, ...]] = ()
    """Names that the option ``defect`` takes beside those of slot stores: faults that the subclass shows by itself."""

    def shown_defects(self) -> set[str]:
        """The faults of slot stores that this model can show."""
        return {defect for store in self.tables for defect in shown_by(store)}

    @property
    def store_kind(self) -> type[SlotStore]:
        """The kind of slot store that the option ``defect`` asks for."""
        return DEFECTS.get(str(self.option["defect"]), SlotStore)

    def configure(self) -> None:
        """Options are parsed, nothing is made yet: set this one's ``id``, ``bars`` or ``msix`` where they differ."""

    def slot_layouts(self) -> Sequence[SlotLayout]:
        """The slot tables that it has: those that its BARs declare."""
        declared = [bar.slots for bar in self.bars.values() if bar.slots is not None]
        return [one for slots in declared for one in (slots if isinstance(slots, tuple) else (slots,))]

    def capabilities(self, config: ConfigBuilder) -> None:
        """Declare the capabilities; override to place them. The mark of a model is added by itself."""
        config.add(Express.new(flr=bool(self.option["flr"])))
        if self.msix is not None:
            config.add(self.msix.capability())
        if self.msi:
            config.add(Msi.new(self.msi))
        for dvsec in self.siov_dvsecs():
            config.add(dvsec)

    def siov_dvsecs(self) -> list[Dvsec]:
        """The DVSECs that the ``dvsec`` option asks for."""
        match self.option["dvsec"]:
            case "absent":
                return []
            case "second":
                return [Dvsec.make(0x10, vendor=0x1234, dvsec_id=5, length=0x10), SiovDvsec.new()]
        return [SiovDvsec.new(ims=self.option["dvsec"] == "ims")]

    @property
    def slots(self) -> SlotStore:
        """The one slot table."""
        (store,) = self.tables
        return store

    def slots_in(self, bar: int) -> SlotStore:
        """The one slot table of BAR ``bar``."""
        (store,) = self._tables_of[bar]
        return store

    def registers(self, bar: int = 0) -> RegisterFile:
        """The registers of BAR ``bar``, as the model reads and writes them. KeyError for a BAR that has none."""
        return self._files[bar]

    def memory(self, bar: int) -> BarMemory:
        """The memory that BAR ``bar`` is."""
        return self._memories[bar]

    def bar_address(self, bar: int) -> int:
        """Where BAR ``bar`` was placed on the bus; 0 while it was not."""
        low, high = (int.from_bytes(self.config.load(0x10 + 4 * bar + at, 4), "little") for at in (0, 4))
        return high << 32 | low & ~0xF

    def read_other(self, region: int, offset: int, size: int) -> bytes:
        """Answer a read of ``size`` bytes at ``offset`` of BAR ``region``, outside its registers and slots: zeros."""
        return bytes(size)

    def write_other(self, region: int, offset: int, data: bytes) -> None:
        """Take a write of ``data`` at ``offset`` of BAR ``region``, outside its registers and slots: it is dropped."""

    def after(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Run ``action`` once the access under way is answered."""
        self._actions.append((action, arguments))

    @property
    def bus(self) -> Bus | None:
        """The bus, or None while bus mastering is off or no platform is attached."""
        return self._bus if self.config.bus_master else None

    def send(self, address: int, data: int) -> None:
        """Write a message: 4 bytes, posted, lost while bus mastering is off (PCIe base spec, "Bus Master Enable")."""
        bus = self._bus
        if bus is not None and self.config.bus_master:
            bus.write(address, data.to_bytes(4, "little"))

    def raise_vector(self, vector: int) -> None:
        """Raise an MSI-X vector of the function."""
        bus = self.bus
        if bus is not None:
            bus.interrupt(IrqIndex.MSIX, vector)

    def raise_msi(self, vector: int) -> None:
        """Raise an MSI vector of the function."""
        bus = self.bus
        if bus is not None:
            bus.interrupt(IrqIndex.MSI, vector)

    def set_intx(self, asserted: bool) -> None:
        """Drive the interrupt pin and the status register's interrupt bit. It needs no bus mastering."""
        was = bool(self.config.load(_STATUS, 1)[0] & Status.INTX)
        self.config.set_bits(_STATUS, 2, Status.INTX if asserted else 0, Status.INTX)
        if asserted and not was and self._bus is not None:
            self._bus.interrupt(IrqIndex.INTX, 0)

    def report_error(self, errors: Uncorrectable, header: bytes = b"") -> None:
        """An uncorrectable error happens: AER records it with ``header`` (16 bytes), and the host is sent ERR."""
        if record_uncorrectable(self.config, errors, header) and self._bus is not None:
            self._bus.interrupt(IrqIndex.ERR, 0)

    def reset(self) -> None:
        """As after power-on: registers and slots. Config space is kept: the platform restores it."""
        self._actions.clear()
        self.set_intx(False)
        for file in self._files.values():
            file.reset()
        for store in self.tables:
            store.reset()

    # --- what a mount calls (ModelPort) -------------------------------------------------------------------------------

    def attach(self, bus: Bus) -> None:
        """Give the model its way out; a mount does this once, before any access."""
        self._bus = bus

    def device_info(self) -> DeviceInfo:
        """A PCI function, which can be reset where the option ``flr`` says so."""
        flags = DeviceFlags.PCI | (DeviceFlags.RESET if self.option["flr"] else DeviceFlags(0))
        return DeviceInfo(flags, regions=len(RegionIndex), irqs=len(IrqIndex))

    def region_info(self, index: int) -> RegionInfo:
        """Size and rights of config space and of the BARs in ``bars``; size 0 elsewhere."""
        return region_info(index, self.bars, self.shared_areas())

    def irq_info(self, index: int) -> IrqInfo:
        """The vectors of ``msix``, ``msi`` and ``interrupt_pin``, and one each of ERR and REQ."""
        return irq_info(index, self.msix, self.msi, self.interrupt_pin)

    def shared_areas(self) -> Sequence[SharedArea]:
        """Slot tables (option ``map_slots``) and memory (option ``map_memory``) that clients may map."""
        areas = [
            SharedArea(store.layout.bar, store.layout.offset, store.mapped_size, store.fd)
            for store in self.tables
            if store.fd >= 0
        ]
        if self.option.get("map_memory", True):
            areas += [SharedArea(number, 0, memory.size, memory.fd) for number, memory in self._memories.items()]
        return areas

    def read(self, region: int, offset: int, size: int) -> bytes:
        """Answer a read of ``size`` bytes at ``offset`` of ``region``; the register's ``on_read`` hook runs before.

        Config space, slot tables, registers and memory answer for themselves, ``read_other`` for the rest. All ones
        while the function sleeps in D3hot.
        """
        if region == RegionIndex.CONFIG:
            return self.config.load(offset, size)
        if self.config.asleep:
            return b"\xff" * size  # an unsupported request, which the host completes with ones
        for store in self._tables_of.get(region, ()):
            if store.covers(offset):
                return store.answer(offset, size)
        file = self._files.get(region)
        if file is None:
            return self._memories[region].load(offset, size)
        place = file.place(offset)
        if place is None and not self._covers(file, offset, size):
            return self.read_other(region, offset, size)
        if place is not None and (hook := self._before_read.get(place.register)) is not None:
            hook() if place.row is None else hook(place.row)
        return file.load(offset, size)

    @staticmethod
    def _covers(file: RegisterFile, offset: int, size: int) -> bool:
        return any(file.place(byte) is not None for byte in range(offset, offset + min(size, 64)))

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Take a write of ``data`` at ``offset`` of ``region``.

        Hooks of the registers that it touches run in ``act``.
        """
        if region == RegionIndex.CONFIG:
            self.config.store(offset, data)
            return
        if self.config.asleep:
            return
        for store in self._tables_of.get(region, ()):
            if store.covers(offset):
                for index in store.take(offset, data):
                    if index in store.pending:
                        self.after(store.discharge, index)
                return
        file = self._files.get(region)
        if file is None:
            self._memories[region].store(offset, data)
            return
        whole = file.store_whole(offset, data)
        if whole is not None and whole[0].register not in self._after_write:
            return
        touched = (
            file.store(offset, data) if whole is None else [(whole[0], RegisterValue.of(whole[0].register, whole[1]))]
        )
        for place, value in touched:
            hook = self._after_write.get(place.register)
            if hook is not None:
                self.after(hook, *((value,) if place.row is None else (place.row, value)))
        if not touched:
            self.write_other(region, offset, data)

    def write_words(self, region: int, writes: Sequence[tuple[int, bytes]]) -> int:
        """Take the first of ``writes``, as ``write`` does, that set off nothing. How many those were, perhaps none."""
        store = self._word_stores.get(region)
        return 0 if store is None or self.config.asleep else store.take_words(writes)

    def plain_access(self, region: int, excluded: range) -> PlainAccess | None:
        """What of BAR ``region`` can be read and written without this model's methods; None where that is nothing.

        ``excluded``: offsets that the mount answers by itself.
        """
        if not self._reads_plainly or self._watcher is not None or {"read", "write", "act"} & vars(self).keys():
            return None
        tables = self._tables_of.get(region, ())
        shown = tables[0] if len(tables) == 1 and tables[0].reads_plainly else None
        stored, file = self._word_stores.get(region), self._files.get(region)
        if tables and shown is None:
            file = None  # a table may lie over registers
        hooks, declared = (self._before_read, self._after_write), "writes_looked_at" in vars(self._writer)
        at = self.writes_looked_at if declared else None
        return PlainAccess(self.lock, self._actions, self.config, file, hooks, shown, stored, excluded, at)

    def act(self) -> None:
        """Run the hooks that the accesses so far have set off, and what these set off, until nothing is left."""
        if self._actions:
            with uninterrupted():  # a device goes on, whatever is pressed on the keyboard of its driver
                while self._actions:
                    action, arguments = self._actions.popleft()
                    action(*arguments)
        if self._watcher is not None:
            self._watcher.wake()

    def close(self) -> None:
        """Use the bus no more, and free threads and shared memory."""
        self._bus = None
        if self._watcher is not None:
            self._watcher.close()
        self._close_parts()

    def _close_parts(self) -> None:
        for store in self.tables:
            store.close()
        for memory in self._memories.values():
            memory.close()
