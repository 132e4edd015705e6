# SPDX-License-Identifier: Apache-2.0
"""The software platform: the part of the kernel, the IOMMU and the interrupt controller where there is none.

One platform is one host: its devices share the remapping table, so one function's message can meet another's entry.
"""

from __future__ import annotations

import errno
import mmap

from vfio_ims.locks import make_lock
from vfio_ims.messages import Message, MessagePlatform
from vfio_ims.platform.controller import Controller
from vfio_ims.platform.faults import Fault, FaultKind, FaultLog
from vfio_ims.platform.function import Function
from vfio_ims.platform.kinds import find_kind
from vfio_ims.platform.refusals import refusal
from vfio_ims.platform.vectors import Merge, merging
from vfio_ims.ports.values import Evidence, IovaRange

__all__ = ["Platform"]

_BARS = 0x3800_0000_0000
"""Where 64-bit BARs are placed: above what IOVAs are taken from, as on large x86 hosts."""


class Platform:
    """A host in software.

    ``kind``: which messages it takes, by name (``kinds.KINDS``). ``remapping`` off: x86's messages name CPU vectors.
    ``merge``, ``seed``: how messages in flight merge (``vectors.merging``). ``dynamic_msix``: MSI-X vectors can be
    added one at a time. ``msix_mappable``: a window over the MSI-X table shows it. ``entries``: size of a remapping
    table, None for the hardware's. ``cpus``: how many there are. ``address_bits``: width of I/O addresses.
    ``page_size``: the host's pages, the least that can be mapped; a multiple of this machine's. ``pasids``: the IOMMU
    takes tagged requests.
    """

    def __init__(
        self,
        *,
        kind: str = "vtd",
        remapping: bool = True,
        merge: Merge = "always",
        seed: int | None = None,
        dynamic_msix: bool = True,
        msix_mappable: bool = True,
        entries: int | None = None,
        cpus: int = 4,
        address_bits: int = 48,
        page_size: int = mmap.PAGESIZE,
        pasids: bool = True,
    ) -> None:
        self.kind = find_kind(kind, remapping)
        self.controller: Controller = self.kind.make(entries, cpus)
        self.signal = merging(merge, seed)
        self.cpus = cpus
        self.dynamic_msix = dynamic_msix and self.kind.dynamic_msix
        self.msix_mappable, self.pasids = msix_mappable, pasids
        self.address_bits, self.page_size = address_bits, page_size
        self.faults = FaultLog()
        self.delivered = 0
        # Guards the table, the controller and every vector's descriptor; held for one delivery, never while waiting.
        self.lock = make_lock()
        self._functions: dict[int, Function] = {}
        self._next_bar = _BARS

    @property
    def remapping(self) -> bool:
        """Whether a function is kept from the interrupts of others."""
        return self.controller.isolates

    @property
    def messages(self) -> MessagePlatform:
        """What messages are here."""
        controller = self.controller
        text = f"the software platform: {controller.text}"
        return MessagePlatform(controller.format, (controller.window,), controller.moves, text)

    @property
    def interrupt_window(self) -> IovaRange:
        """The I/O addresses that are never memory."""
        return IovaRange(self.controller.window.start, self.controller.window.stop - 1)

    def add(self, requester: int | None = None) -> Function:
        """A new function; ``requester`` is its bus/device/function number in 16 bits (None: the next free one)."""
        with self.lock:
            if requester is None:
                requester = next(free for free in range(0x0008, 1 << 16, 8) if free not in self._functions)
            if not 0 <= requester < 1 << 16 or requester in self._functions:
                why = f"requester id must be 16 bits and new, not {requester!r}"
                raise refusal(errno.EEXIST if requester in self._functions else errno.EINVAL, "add a function", why=why)
            function = self._functions[requester] = Function(self, requester)
        return function

    def place_bar(self, size: int) -> int:
        """An address for a BAR of ``size`` bytes, a power of two, as firmware assigns it: a multiple of the size."""
        with self.lock:
            address = -(-self._next_bar // size) * size
            self._next_bar = address + size
        return address

    def remove(self, function: Function) -> None:
        """The function is gone: nothing it sends arrives any more."""
        function.bus_master, function.space = False, None
        function.pasids.clear()
        with self.lock:
            if self._functions.get(function.requester) is function:
                del self._functions[function.requester]

    @property
    def functions(self) -> tuple[Function, ...]:
        """The functions on this platform now."""
        return tuple(self._functions.values())

    def on_bus_of(self, function: Function) -> tuple[Function, ...]:
        """The functions that a reset of the function's bus reaches; none on bus 0, the root: no bridge is above it."""
        bus = function.requester >> 8
        return tuple(one for one in self.functions if one.requester >> 8 == bus) if bus else ()

    def deliver(self, requester: int, address: int, data: int) -> None:
        """A message from ``requester`` arrives at the interrupt controller: a write of ``data`` to ``address``.

        One that the controller refuses raises nothing; the fault log has it.
        """
        with self.lock:
            target = self.controller.resolve(requester, address, data)
            if not isinstance(target, str):
                target.deliver()
                self.delivered += 1
                return
        self.faults.record(Fault(FaultKind.MESSAGE, requester, address, 4, target, data))

    def set_affinity(self, function: Function, vector: int, cpu: int, *, settle: bool = True) -> Message | None:
        """Move the function's ``vector`` to ``cpu``.

        Without remapping its message changes and every copy of it goes stale.

        ``settle`` False: the old vector lives on until a message has reached the new one, as the kernel does it.
        """
        return function.move(vector, cpu, settle=settle)

    def interrupt_remapping(self) -> Evidence:
        """Whether messages are remapped here."""
        return Evidence(self.remapping, self.messages.text)
