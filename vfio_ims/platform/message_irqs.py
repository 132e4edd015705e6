# SPDX-License-Identifier: Apache-2.0
"""MSI and MSI-X of one function: vectors with messages, attached to eventfds one by one.

Semantics: the kernel's drivers/vfio/pci/vfio_pci_intrs.c. ``set_*`` are called one at a time (the kernel's igate).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from vfio_ims.counted import counted
from vfio_ims.errors import VfioImsError
from vfio_ims.messages import Message
from vfio_ims.platform.controller import Claim, Controller
from vfio_ims.platform.irq_kinds import refuse_irqs
from vfio_ims.platform.msix import MsixTable
from vfio_ims.platform.vectors import Signal, Vector, hold_eventfd
from vfio_ims.ports.values import IrqSet

__all__ = ["MessageIrqs"]


class MessageIrqs:
    """The vectors of one index. ``table``: the MSI-X table to keep, None for MSI.

    ``dynamic``: vectors may be added after the first call (MSI-X without NORESIZE).
    """

    def __init__(
        self,
        lock: threading.Lock,
        signal: Signal,
        controller: Controller,
        requester: int,
        count: int,
        *,
        table: MsixTable | None = None,
        dynamic: bool = False,
    ) -> None:
        self._lock, self._signal, self._controller, self._requester = lock, signal, controller, requester
        self.count, self.table, self.dynamic = count, table, dynamic
        self.enabled = False
        self._claims: dict[int, Claim] = {}
        self._spare: list[Claim] = []  # the rest of MSI's power-of-two block
        self.vectors: dict[int, Vector] = {}

    def armed(self, index: int) -> bool:
        vector = self.vectors.get(index)
        return vector is not None and vector.fd >= 0

    def set_trigger(self, flags: IrqSet, start: int, count: int, data: Sequence[int]) -> None:
        if flags & IrqSet.DATA_EVENTFD:
            if self.enabled:
                self._attach_block(start, data)
                return
            self._enable(start + count)
            try:
                self._attach_block(start, data)
            except VfioImsError:
                self.close()
                raise
            return
        if not self.enabled:
            raise refuse_irqs("nothing is enabled", "attach eventfds with DATA_EVENTFD first")
        with self._lock:
            for index in range(start, start + count):
                if self.armed(index) and (flags & IrqSet.DATA_NONE or data[index - start]):
                    self.vectors[index].deliver()

    def _enable(self, count: int) -> None:
        if not count:
            raise refuse_irqs("at least one vector must be named")
        with self._lock:
            claims = self._controller.claim(self._requester, count, contiguous=self.table is None)
            self._claims = dict(enumerate(claims[:count]))
            self._spare = claims[count:]
            self.enabled = True

    def _attach_block(self, start: int, fds: Sequence[int]) -> None:
        done = start
        try:
            for fd in fds:
                done += 1
                self._attach(done - 1, fd)
        except VfioImsError:
            # As the kernel: every vector up to the one that failed is detached, live ones too.
            for index in range(start, done):
                self._detach(index)
            raise

    def _attach(self, index: int, fd: int) -> None:
        self._detach(index)
        if fd < 0:
            return
        if index not in self._claims:
            if not self.dynamic:
                taken = counted(len(self._claims), "vector")
                why = f"the first call took {taken}, and this platform cannot add vector {index}"
                raise refuse_irqs(why, "disable all with DATA_NONE and count 0, then name the most you will need")
            with self._lock:
                self._claims[index] = self._controller.claim(self._requester)[0]
        own = hold_eventfd(fd)
        vector = self.vectors.setdefault(index, Vector(self._signal))
        with self._lock:
            vector.listen(own)
            try:
                message = self._controller.activate(self._claims[index], vector)
            except VfioImsError:
                vector.silence()
                raise
            if self.table is not None and self.table.attach(index, message):
                vector.deliver()

    def _detach(self, index: int) -> None:
        with self._lock:
            vector, claim = self.vectors.get(index), self._claims.get(index)
            if vector is None or claim is None or vector.fd < 0:
                return
            self._controller.deactivate(claim)
            if self.table is not None:
                self.table.detach(index)
            vector.silence()

    def message(self, index: int) -> Message | None:
        """What raises this vector now."""
        claim = self._claims.get(index)
        return claim.message if claim is not None else None

    @property
    def base(self) -> Message | None:
        """What the kernel writes into the MSI registers: the first vector's message; None while none is attached."""
        for index, claim in self._claims.items():
            if claim.message is not None:
                return Message(claim.message.address, claim.message.data - index)
        return None

    @property
    def given(self) -> int:
        """How many vectors the kernel has enabled."""
        return len(self._claims)

    def cpu(self, index: int) -> int:
        """The CPU that takes an attached vector."""
        return self._claims[index].cpu

    def move(self, index: int, cpu: int, *, settle: bool) -> Message:
        """Another CPU takes the vector; the message in the table follows if it has to."""
        if not self.armed(index):
            raise refuse_irqs(f"vector {index} is not attached", "attach an eventfd first")
        with self._lock:
            message = self._controller.move(self._claims[index], cpu, settle=settle)
            if self.table is not None:
                self.table.attach(index, message)
            return message

    def close(self) -> None:
        """Disable the index: detach all and give the interrupts back."""
        for index in list(self.vectors):
            self._detach(index)
        with self._lock:
            self._controller.release([*self._claims.values(), *self._spare])
            self._claims.clear()
            self._spare.clear()
            self.vectors.clear()
            self.enabled = False
