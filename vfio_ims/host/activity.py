# SPDX-License-Identifier: Apache-2.0
"""What a device is doing now: interrupts per vector and slot, errors, state. Looking at it does not touch the device.

Vectors of any open device are counted by the kernel (/proc/interrupts). Slots are known to the owner alone: it may
publish them, and a view of the device in another process of the same user, or of root, shows them.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from vfio_ims.backends.kernel.claim import claimed_by
from vfio_ims.errors import VfioImsError
from vfio_ims.host.publishing import Counts, Publication, ask
from vfio_ims.sysfs.attributes import read_text

if TYPE_CHECKING:
    from vfio_ims.driver import Driver
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["DriverView", "FunctionView", "Published", "Sample", "View"]

_ACTION = re.compile(r"vfio-(intx|msi|msix)(?:\[(\d+)\])?\(")
_KINDS = {"intx": "INTx", "msi": "MSI", "msix": "MSI-X"}


@dataclass(frozen=True)
class Sample:
    """Counts since the device was opened, by vector and slot; a rate is the difference of two samples.

    ``slots`` is None where only the owner knows them and does not publish them.
    """

    state: str
    vectors: dict[str, int] = field(default_factory=dict)
    slots: dict[int, int] | None = None
    errors: dict[str, str] = field(default_factory=dict)
    time: float = field(default_factory=time.monotonic)


class View(Protocol):
    """Something that can be sampled."""

    def sample(self) -> Sample: ...


class DriverView:
    """A device that is open in this process. Fires of slots are counted as the driver reports them."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._fires: Counter[int] = Counter()
        ask_driver = driver.fired

        def counted(slots: Sequence[int]) -> Sequence[int] | None:
            fired = ask_driver(slots)
            self._fires.update(fired or ())
            return fired

        driver.fired = counted  # type: ignore[method-assign]

    def sample(self) -> Sample:
        """From the domain's records: the device itself is asked for its status only."""
        driver = self._driver
        if driver.closed:
            return Sample("closed")
        domain = driver.ims
        vectors: dict[str, int] = {}
        slots: dict[int, int] = {}
        if not domain.closed:
            donors = list(domain.donors.values())
            vectors = {f"MSI-X {donor.vector}": donor.count for donor in donors}
            slots = {slot: self._fires[slot] for slot in domain.allocated}
            for donor in donors:
                if donor.exclusive or donor.load == 1:
                    slots |= dict.fromkeys(donor.slots(), donor.count)
        try:
            status = driver.status()
        except VfioImsError as error:
            status = str(error)
        return Sample("open here", vectors, slots, {"device": status} if status else {})


class FunctionView:
    """A function of a machine, whichever process has it open."""

    def __init__(self, machine: Machine, function: Function) -> None:
        self._machine, self._function = machine, function

    def sample(self) -> Sample:
        function = self._function.fresh()
        if not function.exists:
            return Sample("gone")
        owner = claimed_by(str(function.address), self._machine.dev)
        words = [function.driver or "no driver", function.power_state or "", f"open in {owner}" if owner else ""]
        state = ", ".join(word for word in words if word)
        vectors = self._vectors(function)
        published = ask(str(function.address), owner.pid) if owner else None
        errors = self._errors(function)
        if published is None:
            return Sample(state, vectors, None, errors)
        return Sample(state, vectors or published.vectors, published.slots, errors | published.errors)

    def _vectors(self, function: Function) -> dict[str, int]:
        numbers = {str(irq.number) for irq in function.msi_irqs} | {str(function.intx_irq)}
        found = {}
        for line in (self._machine.text("/proc/interrupts") or "").splitlines():
            number, colon, rest = line.partition(":")
            if colon and number.strip() in numbers:
                words = rest.split()
                counts = [int(word) for word in words[: next((i for i, w in enumerate(words) if not w.isdigit()), 0)]]
                match = _ACTION.search(rest)
                label = f"irq {number.strip()}"
                if match is not None:
                    label = f"{_KINDS[match[1]]} {match[2] or '0'}"
                found[label] = sum(counts)
        return found

    def _errors(self, function: Function) -> dict[str, str]:
        found = {}
        for kind in ("correctable", "nonfatal", "fatal"):
            match = re.search(r"TOTAL_ERR\w+ (\d+)", read_text(function.path / f"aer_dev_{kind}") or "")
            if match and int(match[1]):
                found[f"AER {kind}"] = match[1]
        return found


class Published(Publication):
    """While it is open, ``vfio-ims monitor DEVICE`` shows the slots of this driver's device. A context manager.

    Raises DeviceBusy where another process has the name of that device.
    """

    def __init__(self, driver: Driver) -> None:
        view = DriverView(driver)

        def counts() -> Counts:
            sample = view.sample()
            return Counts(sample.vectors, sample.slots or {}, sample.errors)

        super().__init__(driver.label, counts)
