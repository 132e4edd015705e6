# SPDX-License-Identifier: Apache-2.0
"""Faults are injected on the kernel's vfio-pci: faulty.py DEVICE. JSON: what became of each, and of the device."""

import json
import sys

import vfio_ims
from vfio_ims import selftest
from vfio_ims.driver import Driver
from vfio_ims.errors import UsageError, VfioImsError
from vfio_ims.faults import inject

NAME = sys.argv[1]
TIMEOUT = 20.0


def allocate(driver: Driver) -> None:
    with driver.ims.allocate() as irq:
        driver.fire(irq.slot)
        assert irq.wait(TIMEOUT)


def dma(driver: Driver) -> None:
    driver.device.dma.allocate(4096).close()


def identify(driver: Driver) -> None:
    driver.device.bar(0).read32(0)


def look(driver: Driver) -> None:
    with driver.ims.allocate():
        identify(driver)
        driver.ims.check()


WAYS = {
    "fail:VFIO_DEVICE_SET_IRQS:ENOSPC": allocate,
    "fail:map:ENOMEM": dma,
    "fail:read:EIO": identify,
    "lost@2": allocate,
    "slow:0.01": allocate,
    "stuck:bar0+0x0:0x12345678": identify,
    "reset@read=bar0+0x0": look,
}
facts: dict[str, object] = {}
for fault, way in WAYS.items():
    with vfio_ims.open_driver(NAME) as driver, inject(driver, fault, warn=False) as faults:
        try:
            way(driver)
            found = "survived"
        except VfioImsError as error:
            found = f"{type(error).__name__}: {error.summary}"
        facts[fault] = [found, len(faults.happened)]
with vfio_ims.open_driver(NAME) as driver, inject(driver, "req@read=bar0+0x0", warn=False):
    request = driver.device.interrupts.open_req()
    identify(driver)
    facts["req"] = ["signalled" if request.wait(TIMEOUT) else "not signalled", 1]
with vfio_ims.open_driver(NAME) as driver:
    for fault in ("drop", "dma"):
        try:
            with inject(driver, fault, warn=False):
                facts[fault] = ["injected", 1]
        except UsageError as error:
            facts[fault] = [f"UsageError: {error.summary}", 0]
    report = selftest.run(driver, options=selftest.Options(timeout=TIMEOUT, slots=8, reset=False))
print(json.dumps({"faults": facts, "verdict": str(report.counts), "passed": report.passed}))
