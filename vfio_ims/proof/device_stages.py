# SPDX-License-Identifier: Apache-2.0
"""The device's part of a proof: open, driver, interrupts, memory, reset; closed at the end, whatever happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.interruption import uninterrupted
from vfio_ims.names import Name, open_device
from vfio_ims.proof import device_checks
from vfio_ims.proof.stage_log import Fails, StageLog
from vfio_ims.selftest import Interrupted, Options, ProgressSink, Report
from vfio_ims.selftest import run as run_selftest

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.driver import Driver

__all__ = ["DeviceStages"]


class DeviceStages:
    """``name``: what to open. ``start``: starts a driver, in place of the one of the device's family."""

    def __init__(
        self,
        name: str,
        options: Options,
        start: Callable[[Device], Driver] | None,
        progress: ProgressSink | None,
    ) -> None:
        self._name, self._options, self._start, self._progress = name, options, start, progress
        self.report: Report | None = None

    def run(self, log: StageLog) -> None:
        """Each stage, noted in ``log``. Opening the device resets it; closing it leaves it quiet."""
        opened: list[Device] = []
        started: list[Driver] = []
        timeout = self._options.timeout
        try:
            log.run("open", lambda: self._open(opened), vital=True)
            log.run("loopback", lambda: device_checks.loopback(opened[0], timeout), vital=True, host=True)
            log.run("driver", lambda: self._start_driver(opened[0], started), vital=True)
            driver = started[0]
            log.run("own MSI-X", lambda: device_checks.own_msix(driver, timeout))
            log.run("IMS self-test", lambda: self._selftest(driver))
            log.run("DMA", lambda: device_checks.dma(driver, timeout))
            log.run("reset", lambda: device_checks.reset(driver, timeout))
        finally:
            with uninterrupted():
                for one in (*started, *opened):
                    one.close()

    def _open(self, opened: list[Device]) -> str:
        opened.append(open_device(Name.parse(self._name)))
        return device_checks.opened(opened[0])

    def _start_driver(self, device: Device, started: list[Driver]) -> str:
        if self._start is not None:
            started.append(self._start(device))
        else:
            from vfio_ims.families import family_for

            header = device.config.header
            family = family_for(header.vendor, header.device, self._name)
            kind = family.load_driver(f"{header.vendor:04x}:{header.device:04x}")
            started.append(kind.start_on(device))
        driver = started[0]
        return f"{type(driver).__name__}: {driver.verdict}"

    def _selftest(self, driver: Driver) -> str:
        try:
            self.report = run_selftest(driver, options=self._options, progress=self._progress)
        except Interrupted as interrupted:
            self.report = interrupted.report
            raise
        report = self.report
        if not report.passed:
            first = report.findings[0] if report.findings else None
            raise Fails(first.text if first else f"not quiet: {report.quiet[0]}", first.hint if first else "")
        slots = f"{counted(report.slots, 'slot')}" + (f" of {report.table}" if report.slots != report.table else "")
        return f"{slots}: {report.counts}"
