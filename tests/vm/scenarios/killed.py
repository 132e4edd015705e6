# SPDX-License-Identifier: Apache-2.0
"""A self-test is killed with SIGKILL in the middle; then no slot can fire, and no other event has moved.

    killed.py VICTIM BYSTANDER HEIR SLOTS FIRES...

The bystander's vectors are attached throughout. The heir's are attached after the kill: the kernel hands it the
remapping entries that the victim's slots still name, if nothing has reset the victim.
"""

import json
import os
import signal
import sys
import time
from contextlib import ExitStack

import vfio_ims
from vfio_ims import selftest
from vfio_ims.drivers.minimal.registers import Bar0
from vfio_ims.families import family_for
from vfio_ims.ims import FireReport, FireStatus

SETTLE = 0.3
PATIENCE = 20.0
OPTIONS = selftest.Options(timeout=20, settle=0.1, slots=int(sys.argv[4]))


def kill_after(name: str, fires: int) -> str:
    """Run the self-test in a child that ends by SIGKILL after so many fires; the step that it was in."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        step, left = "ladder", fires
        with vfio_ims.open_driver(name) as driver:
            fire = driver.fire

            def last_fire(slot: int, **tags: int) -> FireReport:
                nonlocal left
                report, left = fire(slot, **tags), left - 1
                if not left:
                    os.write(writing, step.encode())
                    os.kill(os.getpid(), signal.SIGKILL)
                return report

            def tell(progress: selftest.Progress) -> None:
                nonlocal step
                step = progress.step

            driver.fire = last_fire  # type: ignore[method-assign]
            driver.fire_many = lambda slots, **tag: [last_fire(slot, **tag) for slot in slots]  # type: ignore[method-assign]
            selftest.run(driver, options=OPTIONS, progress=tell)
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"it ended by itself: {status}"
    with open(reading, "rb") as report:
        return report.read().decode()


class Bystander(ExitStack):
    """Another function: every vector attached, its events counted."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._device = self.enter_context(vfio_ims.open(name))
        self._device.config.memory = self._device.config.bus_master = True
        interrupts = self._device.interrupts
        self.vectors = [interrupts.open_msix(vector) for vector in range(interrupts.msix.count)]

    def events(self, expected: int = 0) -> int:
        """How many have come, after a while: a long one, for the first that is expected."""
        until = time.monotonic() + PATIENCE
        while True:
            time.sleep(SETTLE)
            self._device.interrupts.hub.drain()
            came = sum(vector.count for vector in self.vectors)
            if came >= expected or time.monotonic() > until:
                return came

    def still_works(self) -> None:
        before = self.events()
        for vector in self.vectors:
            vector.trigger()
        expected = before + len(self.vectors)
        assert self.events(expected) == expected, "the bystander's own vectors do not count"

    def messages(self) -> set[object]:
        return {self._device.interrupts.msix.message(vector) for vector in range(len(self.vectors))}


def stale(name: str, heir: Bystander) -> dict[str, int]:
    """What the kill left in the table, on the bare device, and what a slot that fires does to the heir."""
    device = vfio_ims.open(name)
    header = device.config.header
    assert not device.config.bus_master
    device.config.memory = True
    kind = family_for(header.vendor, header.device, name).load_driver(f"{header.vendor:04x}:{header.device:04x}")
    with kind(device) as driver:
        table = driver.ims_table()
        slots = {index: entry for index in range(table.size) if not (entry := table.read(index)).masked}
        theirs = [index for index, entry in slots.items() if entry.message in heir.messages()]
        if theirs:
            device.config.bus_master = True
            device.bar(0).write32(Bar0.FIRE.offset, theirs[0])
        # While the device is open: its closing masks what has not left yet.
        events = heir.events(expected=1 if theirs else 0)
    return {"unmasked": len(slots), "name_the_heir": len(theirs), "heirs_events": events}


victim, bystander = sys.argv[1], Bystander(sys.argv[2])
left = {}
with bystander:
    for fires in sys.argv[5:]:
        step = kill_after(victim, int(fires))
        with Bystander(sys.argv[3]) as heir:
            left[step] = stale(victim, heir)
            inherited = heir.events()
            with vfio_ims.open_driver(victim) as driver:
                table = driver.ims_table()
                for slot in range(OPTIONS.slots or table.size):
                    entry = table.read(slot)
                    assert entry.masked, (slot, entry)
                    assert not entry.message.address, (slot, entry)
                    assert driver.fire(slot).status is FireStatus.PENDING
                report = selftest.run(driver, options=OPTIONS)
                assert report.passed, str(report)
            assert heir.events() == inherited, f"killed in {step!r}: the next user's device raised the heir's vector"
            heir.still_works()
    assert bystander.events() == 0
    bystander.still_works()
json.dump({"left": left, "next": report.counts.to_json()}, sys.stdout)
