# SPDX-License-Identifier: Apache-2.0
"""A recorder on an open port: what it sees there gets the names that registers, slots and vectors have."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from vfio_ims.ims import ImsDomain, SlotArray
from vfio_ims.locks import made, make_lock
from vfio_ims.native.watch import watch
from vfio_ims.ports.values import RegionIndex
from vfio_ims.registers import Block
from vfio_ims.tracing.names import RegisterNames, declared_blocks
from vfio_ims.tracing.ports import PortRecording
from vfio_ims.tracing.recorder import Describe, Messages, Recorder

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.ports.values import Area
    from vfio_ims.registers import SlotLayout

__all__ = ["Attached", "identity"]


class Attached:
    """``make`` gives the recorder, from what names registers and slots' messages. ``close`` takes it off again."""

    def __init__(self, port: DevicePort, make: Callable[[Describe, Messages], Recorder]) -> None:
        self._followed: weakref.ref[Device] | None = None  # a device that is forgotten is not kept by who watches it
        self._names = RegisterNames(declared_blocks(identity(port)), self._layouts, self._msix)
        self.recorder = make(self._names.describe, self._slots)
        self._recording = PortRecording(port, self.recorder)
        _binding.change(add=self)
        watch.add(self.recorder)

    def follow(self, device: Device) -> None:
        """Record what ``device`` has open already, too: windows and vectors."""
        self._followed = weakref.ref(device)
        for number, bar in device.open_bars.items():
            self._recording.add_window(bar.window, number)
        interrupts = made(device, "interrupts")
        if interrupts is not None:
            self.recorder.vectors |= interrupts.descriptors()

    @property
    def _device(self) -> Device | None:
        return None if self._followed is None else self._followed()

    def _layouts(self) -> Iterable[SlotLayout]:
        device = self._device
        domains = [] if device is None else device.open_children(ImsDomain)
        return [domain.table.layout for domain in domains if isinstance(domain.table, SlotArray)]

    def _msix(self) -> tuple[int, Area] | None:
        """The MSI-X table, once the device's user has read where it is: a recorder does not access the device."""
        device = self._device
        return device.msix_table if device is not None and "capabilities" in vars(device) else None

    def _slots(self, region: int, stores: list[list[int]]) -> dict[int, str]:
        return {index: self._message(*message) for index, message in self._names.messages(region, stores).items()}

    def _message(self, address: int, data: int) -> str:
        """A slot's message in words: the vector whose message it is, or the memory that it writes."""
        if not address:
            return "none"
        device = self._device
        interrupts = None if device is None else made(device, "interrupts")
        pool = None if interrupts is None else made(interrupts, "donors")
        for donor in [] if pool is None else list(pool.vectors.values()):
            if (donor.message.address, donor.message.data) == (address, data):
                return f"vector {donor.vector}"
        return self.recorder.symbol(address) or f"{address:#x}/{data:#x}"

    def bound(self, block: Block) -> None:
        """A block was bound somewhere in the process."""
        region = self._recording.region_of(block.window)
        if region is not None:
            self._names.bound(region, block.base, type(block))

    def name_of(self, region: int, offset: int, width: int) -> str:
        """The declared name of the register of ``width`` bytes at ``offset`` of ``region``, or ""."""
        found = self._names.describe(region, offset, width, 0, False)
        return str(found["name"]) if found else ""

    def close(self) -> None:
        """Record no more; the device stays as it is."""
        _binding.change(remove=self)
        watch.remove(self.recorder)
        self._recording.end()
        self.recorder.close()


class _Binding:
    """The recorders that want to know of bound blocks."""

    def __init__(self) -> None:
        self._lock = make_lock()
        self._traces: tuple[Attached, ...] = ()

    def change(self, *, add: Attached | None = None, remove: Attached | None = None) -> None:
        with self._lock:
            kept = tuple(one for one in self._traces if one is not remove)
            self._traces = kept if add is None else (*kept, add)
            Block.on_bind = self._bound if self._traces else None

    def _bound(self, block: Block) -> None:
        for one in self._traces:
            one.bound(block)


_binding = _Binding()


def identity(port: DevicePort) -> str:
    """Vendor and device id."""
    found = port.read_region(RegionIndex.CONFIG, 0, 4) if port.region_info(RegionIndex.CONFIG).size else bytes(4)
    return f"{int.from_bytes(found[:2], 'little'):04x}:{int.from_bytes(found[2:], 'little'):04x}"
