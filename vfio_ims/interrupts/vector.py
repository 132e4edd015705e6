# SPDX-License-Identifier: Apache-2.0
"""One standard interrupt vector with its event descriptor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Generator
from typing import TYPE_CHECKING

from vfio_ims.errors import ClosedError, UsageError
from vfio_ims.lifetime import Owner
from vfio_ims.ports.values import IrqSet

if TYPE_CHECKING:
    from vfio_ims.interrupts.hub import EventHub
    from vfio_ims.native.events import EventFd
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.ports.values import Affinity

__all__ = ["VectorInterrupt"]


class VectorInterrupt(Owner):
    """``wait``, ``await``, ``async for`` or ``fileno()`` for vector ``vector`` of kind ``index``.

    Who uses ``fileno()`` reads the 8-byte count itself and does not use the other ways beside it. Closing detaches the
    vector.
    """

    def __init__(
        self,
        port: DevicePort,
        owner: Owner,
        index: int,
        vector: int,
        hub: EventHub,
        event: EventFd,
        detach: Callable[[], None],
    ) -> None:
        self._owner = owner  # a held interrupt keeps its device
        self._port, self.index, self.vector, self._event = port, index, vector, event
        self._hub, self._detach = hub, detach
        self.count = 0
        """Events drained so far. Interrupts in flight together merge, so this is not the number of interrupts."""
        self._wakeup = hub.wakeup()
        self._shared = True
        hub.add(event, self._arrived)
        super().__init__(f"{port.name} vector {vector}", owner)

    def _arrived(self, count: int) -> None:
        self.count += count
        self._wakeup.wake()

    @property
    def settle(self) -> float:
        """Seconds after which an interrupt that has not arrived on this mount will not."""
        return self._port.settle

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the interrupt came; False after ``timeout`` seconds."""
        self.check_open("wait")
        try:
            return self._wakeup.wait(timeout)
        except KeyboardInterrupt:
            self._wakeup.wake()  # it may have been taken on the way
            raise

    def wait_until(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Block until ``done()``, which is asked first and after each interrupt of the device; takes the wake-up.

        For several threads that wait for one vector. False after ``timeout`` seconds.
        """
        self.check_open("wait")
        return self._wakeup.wait_until(done, timeout)

    def __await__(self) -> Generator[object, None, None]:
        self.check_open("wait")
        return self._wakeup.__await__()

    def __aiter__(self) -> AsyncIterator[None]:
        self.check_open("wait")
        return self._wakeup.__aiter__()

    def fileno(self) -> int:
        """The event descriptor, for a loop of your own, which then reads its 8-byte counts.

        From now on ``wait``, ``await`` and ``async for`` raise UsageError: the events are read from the descriptor.
        """
        self.check_open("hand out the descriptor")
        if self._shared:
            self._hub.remove(self._event)
            self._shared = False
            why = "its descriptor was handed out by fileno(): its events are read there"
            self._wakeup.fail(UsageError("wait", device=self.label, why=why))
        return self._event.fileno()

    @property
    def descriptor(self) -> int:
        """The number of the event descriptor, to recognise it by: the library reads its events (``fileno``)."""
        return self._event.fileno()

    def trigger(self) -> None:
        """Make the kernel signal the descriptor as if the device had interrupted: a loopback without the device."""
        self.check_open("trigger")
        flags = IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER
        self._port.set_irqs(self.index, flags, self.vector, 1)

    def mask(self) -> None:
        """Hold the interrupt back. INTx only: VFIO has no mask for MSI and MSI-X."""
        self.check_open("mask")
        self._port.set_irqs(self.index, IrqSet.DATA_NONE | IrqSet.ACTION_MASK, self.vector, 1)

    def unmask(self) -> None:
        """Let it through again. The kernel masks INTx at each interrupt: unmask when the device is quiet."""
        self.check_open("unmask")
        self._port.set_irqs(self.index, IrqSet.DATA_NONE | IrqSet.ACTION_UNMASK, self.vector, 1)

    def affinity(self) -> Affinity:
        """The CPUs that may take this vector, and those that do; UnsupportedError where a mount has none."""
        self.check_open("read the CPUs")
        return self._port.affinity(self.index, self.vector)

    def set_affinity(self, cpus: Collection[int]) -> None:
        """Let only ``cpus`` take this vector; a kernel moves it with its next interrupt.

        Through /proc/irq, so AccessDenied for others than root. Without interrupt remapping the vector's message
        changes: slots that hold a copy are written again by their domain's ``check``.
        """
        self.check_open("set the CPUs")
        self._port.set_affinity(self.index, self.vector, cpus)

    def _release(self) -> None:
        self._wakeup.fail(ClosedError("wait", device=self.label, why=f"closed by {self._closed_by}"))
        try:
            self._detach()
        finally:
            if self._shared:
                self._hub.remove(self._event)
            self._event.close()
            self._hub.kick()
