# SPDX-License-Identifier: Apache-2.0
"""A function is removed through sysfs while its slots fire; it is given back, found again, and used again."""

import json
import sys
import threading
import time
from pathlib import Path

import vfio_ims
from vfio_ims import selftest
from vfio_ims.errors import SetupError
from vfio_ims.ims import FireStatus

TIMEOUT = 20.0
PCI = Path("/sys/bus/pci")

name = sys.argv[1]
address = name.partition(",")[0]
function = PCI / "devices" / address
facts: dict[str, object] = {}

with vfio_ims.open_driver(name) as driver:
    irqs = [driver.ims.allocate() for _ in range(4)]
    request = driver.device.interrupts.open_req()
    remover = threading.Thread(target=(function / "remove").write_text, args=("1",))
    fires = after = 0
    began = time.monotonic()
    while after < 20:
        for irq in irqs:
            irq.wakeup.take()
            assert driver.fire(irq.slot).status is FireStatus.SENT
            assert irq.wait(TIMEOUT), f"{irq}: lost after {fires} fires"
            fires += 1
        if fires == 20:
            remover.start()
        after += bool(after or request.count)
        assert time.monotonic() - began < TIMEOUT, "the kernel never asked for the device"
    facts["fires"], facts["asked_for"], facts["fires_after_the_request"] = fires, request.count, 4 * after
    assert remover.is_alive(), "the kernel did not wait for us"
    closing = time.monotonic()
remover.join(TIMEOUT)
assert not remover.is_alive(), "something of ours still holds the function"
facts["given back in"] = round(time.monotonic() - closing, 2)
assert not function.exists()
try:
    vfio_ims.open(name)
except SetupError as error:
    facts["gone"] = str(error)

(PCI / "rescan").write_text("1")
(function / "driver_override").write_text("vfio-pci")
(PCI / "drivers_probe").write_text(address)
deadline = time.monotonic() + TIMEOUT
while not (function / "driver").exists() and time.monotonic() < deadline:
    time.sleep(0.05)
with vfio_ims.open_driver(name) as driver:
    report = selftest.run(driver, options=selftest.Options(timeout=TIMEOUT, slots=8, reset=False))
    assert report.passed, str(report)
facts["back"] = report.counts.to_json()
json.dump(facts, sys.stdout)
