# SPDX-License-Identifier: Apache-2.0
"""The contract of a vendor driver, and opening a device with the driver that its family declares."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from vfio_ims.authors import missing_methods, wrong_vectors
from vfio_ims.errors import ClosedError, DeviceError, DeviceTimeout, UnsupportedError, UsageError
from vfio_ims.families import family_for
from vfio_ims.ims import FireReport, ImsDomain, ImsTable, ImsVerdict
from vfio_ims.ims.table import table_fault
from vfio_ims.ims.verdict import judge
from vfio_ims.interruption import uninterrupted
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_rlock
from vfio_ims.names import Name, open_device

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.platform import Platform

__all__ = ["Driver", "FireReport", "driver_for", "open_driver"]


class Driver(Owner, ABC):
    """A vendor driver over an open ``Device``. ``open`` quiesces the slots, lets the device master the bus, starts it.

    Each callback's guarantee is what the conformance suite tests.
    """

    ims: ImsDomain
    """The domain of the slot table: allocate interrupts here. Made before ``start``."""

    reserved_vectors: ClassVar[tuple[int, ...]] = ()
    """MSI-X vectors that the device needs for itself: they are never donors."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.lock = make_rlock()
        """For register sequences that must not interleave, and for ``fire``.

        Every callback may come from several threads, and ``reset`` holds it. Never taken in ``fired`` or ``quiesce``,
        which are called under other locks.
        """
        self._started = False
        super().__init__(device.name, device)  # a device that is closed under its driver stops it first

    # --- what a vendor implements -------------------------------------------------------------------------------------

    @abstractmethod
    def start(self) -> None:
        """Bring the device up from any state. On return it can take work and raise any slot, and has raised none.

        Bus mastering is on. Called again after every reset. Register writes are posted: read one back before returning,
        or slots that are mapped are written before it.
        """

    @abstractmethod
    def ims_table(self) -> ImsTable:
        """The slot table. May read the device, changes nothing, and works before ``start``."""

    @abstractmethod
    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        """Make the device raise ``slot`` once, for work tagged ``pasid`` (None: untagged).

        On return the message has left, is pending, or was refused: the report is the device's own word, independent of
        the interrupt. The slot's message and mask are not touched.
        """

    def fire_many(self, slots: Sequence[int], *, pasid: int | None = None) -> Sequence[FireReport]:
        """Make the device raise each of ``slots``, which differ, once; the report of each, in their order.

        On return each is as after ``fire``. They may be in flight together: a driver that can submit them at once
        does. Where the device then refuses some and does not say which, each report is that refusal. Here they are
        fired one after the other. ``pasid`` as for ``fire``; a driver that leaves it out fires those one by one.
        """
        return [self.fire(slot) if pasid is None else self.fire(slot, pasid=pasid) for slot in slots]

    def fired(self, slots: Sequence[int]) -> Sequence[int] | None:
        """Those of ``slots`` that have fired since this was last asked, in one compiled call; None: not known.

        Called while events are drained: it must not wait. A slot that fired is reported at least once. ``slots``
        ascend, are never changed, and are the same object while the set is the same: a driver may keep what it derives.
        """
        return None

    def fire_vector(self, vector: int) -> None:
        """Make the device raise its own MSI-X ``vector`` once. UnsupportedError where it has no way to."""
        raise UnsupportedError(f"fire vector {vector}", device=self.label, why="this driver knows no way to")

    def quiesce(self, slot: int) -> None:
        """On return nothing in the device refers to ``slot``: no queue, no work in flight raises it any more."""

    def stop(self) -> None:
        """Leave the device disabled, from any state.

        On a device that no longer answers it ends soon, and may raise DeviceError or DeviceTimeout.
        """

    def status(self) -> str:
        """The device's status and error registers in words, for a failed check's report; "" where all is well."""
        return ""

    def fault(self) -> str:
        """What shows that the device is no longer as ``start`` left it, such as "it is disabled"; "" where it is.

        The domain's ``check`` asks, which may be called every second: a read or two, and nothing is changed.
        """
        return ""

    def firmware(self) -> str:
        """The version that the device's own registers give, of its firmware or of its interface, in words.

        "" where they give none. For reports: read once a run, changes nothing.
        """
        return ""

    def details(self) -> Sequence[tuple[str, str]]:
        """What ``show`` prints of a running device beside its slots: name and text of each. Reads, changes nothing."""
        return ()

    # --- what every driver has ----------------------------------------------------------------------------------------

    @classmethod
    def open(cls, name: str, *, share: Device | None = None) -> Self:
        """Open the device called ``name``, and start this driver on it. ``share``: join that one's address space."""
        return cls.start_on(open_device(name, share=share))

    @classmethod
    def start_on(cls, device: Device) -> Self:
        """Start this driver on an open device, which it owns from now on, also when this fails."""
        try:
            missing = missing_methods(cls) or wrong_vectors(cls)
            if missing:
                hint = "docs/contract.md says what each promises"
                raise UsageError("start the driver", device=device.name, why=missing, hint=hint)
            driver = cls(device)
            try:
                driver._bring_up()
            except BaseException:
                with contextlib.suppress(Exception):
                    driver.close()
                raise
        except BaseException:
            with contextlib.suppress(Exception):
                device.close()
            raise
        return driver

    def _bring_up(self) -> None:
        self.device.config.memory = True
        # Quiesces the slots: a former user's would fire as soon as the device masters the bus.
        table = self.ims_table()
        fault = table_fault(table)
        if fault:
            why = f"{type(self).__name__}.ims_table gave a {type(table).__name__}, {fault}"
            hint = "return SlotArray(self.device, SLOTS)"
            raise UsageError("start the driver", device=self.label, why=why, hint=hint)
        self.ims = ImsDomain(self.device, table, self, reserved=self.reserved_vectors)
        self.device.config.bus_master = True
        self._started = True  # or half: stopping works from any state
        self.start()
        # It may have reset the function: entries then hold the device's reset values, not masked with some devices.
        self.ims.quiesce(range(self.ims.table.size))

    @property
    def verdict(self) -> ImsVerdict:
        """May this device use IMS here, and why."""
        self.check_open("judge")
        return judge(self.device, self.ims_table(), self.reserved_vectors)

    def reset(self) -> None:
        """Quiesce, reset the function, start again, write the slots again and wake every waiter once.

        So in every table of the device that has a domain. Without a function reset the driver's ``start`` is what
        resets. A ``fire`` of another thread waits until it is over. Where it fails half-way every wait and allocation
        raises DeviceError until a reset succeeds.
        """
        self.check_open("reset")
        domains = self.device.open_children(ImsDomain)
        with uninterrupted():
            try:
                for domain in domains:
                    with contextlib.suppress(DeviceError, DeviceTimeout):  # it may be lost: then nothing leaves it
                        domain.quiesce(range(domain.table.size))
                with self._quiet():
                    self._reset()
                for domain in domains:
                    domain.resync()
            except BaseException as error:
                why = f"its last reset was not completed: {str(error) or type(error).__name__}"
                failure = DeviceError("use the device", device=self.label, why=why, hint="reset it again")
                for domain in domains:
                    domain.fail(failure)
                raise

    def _reset(self) -> None:
        self._halt()
        if self.device.can_reset:
            self.device.reset()
        self.device.config.memory = True
        self.device.config.bus_master = True
        self.start()

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """No other thread gives the device work within: a reset would lose it. ``fire`` takes ``lock`` for that."""
        with self.lock:
            yield

    def _halt(self) -> None:
        # A device that does not answer, or is being closed around its driver, is reset, or gone.
        with contextlib.suppress(DeviceError, DeviceTimeout, ClosedError):
            self.stop()

    def _release(self) -> None:
        with contextlib.ExitStack() as stack:  # each step runs, whatever the one before it raised
            stack.callback(self.device.close)
            if self._started:
                stack.callback(self._halt)
            if "ims" in self.__dict__:  # or opening it failed before
                stack.callback(self.ims.close)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}{' closed' if self.closed else ''}>"


def driver_for(vendor: int, device: int, name: str = "") -> type[Driver]:
    """The driver's class for the PCI ids ``vendor`` and ``device``, from the family that knows them.

    SetupError where none does; ``name`` is the device's, for its text.
    """
    found: type[Driver] = family_for(vendor, device, name).load_driver(f"{vendor:04x}:{device:04x}")
    return found


def open_driver(name: str | Name, *, share: Device | None = None, platform: Platform | None = None) -> Driver:
    """Open ``name``, find its family by its ids, and start the vendor's driver on it.

    Resets the device, then leaves it started; closing the driver disables it again. ``share`` and ``platform`` are as
    for ``vfio_ims.open``. SetupError where no family knows the ids. The type is ``Driver``: a family's own class has
    ``open`` for its type, as ``Dsa.open(name)``.
    """
    device = open_device(name, share=share, platform=platform)
    try:
        found = driver_for(device.config.read(0, 2), device.config.read(2, 2), device.name)
    except BaseException:
        device.close()
        raise
    return found.start_on(device)
