# SPDX-License-Identifier: Apache-2.0
"""Faults in the plug-in, from outside: one fault for a run, a test's own, and a sweep over every point."""

from __future__ import annotations

import re

import pytest

FIRES = """
    def test_fires(ims_driver):
        with ims_driver.ims.allocate() as irq:
            ims_driver.fire(irq.slot)
            assert irq.wait(timeout=5)
"""


def test_a_fault_for_the_whole_run_is_reported_with_the_test(inner: pytest.Pytester) -> None:
    inner.makepyfile(FIRES.replace("timeout=5", "timeout=0.05"))
    result = inner.runpytest("--vfio-faults", "drop+fail:hot_reset")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "vfio-ims faults: drop, fail:hot_reset",
            "*injected faults*",
            "mock:minimal: message 0x*was dropped (fault drop, *",
            "mock:minimal: never happened: fail:hot_reset",
            "drop: happened in 1 of 1 test",
            "fail:hot_reset: happened in 0 of 1 test",
        ]
    )


def test_a_fault_that_is_none_ends_the_run_at_its_start(inner: pytest.Pytester) -> None:
    result = inner.runpytest("--vfio-faults", "dorp")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--vfio-faults: *did you mean 'drop'?*"])


def test_a_test_injects_its_own(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest
        from vfio_ims.errors import DeviceError

        def test_reset(ims_driver, vfio_faults):
            faults = vfio_faults("fail:reset")
            with pytest.raises(DeviceError):
                ims_driver.device.reset()
            assert faults.happened

        def test_never(ims_driver, vfio_faults):
            vfio_faults("fail:hot_reset")

        def test_which(vfio_faults):
            vfio_faults("drop")
        """
    )
    result = inner.runpytest()
    result.assert_outcomes(passed=2, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*: fail:hot_reset never happened, in * calls of kernel and device", "vfio_faults: which device?*"]
    )


def test_a_sweep_of_what_is_well_made(inner: pytest.Pytester) -> None:
    inner.makepyfile(FIRES + "\n    def test_without_a_device():\n        pass\n")
    result = inner.runpytest("--vfio-faults", "sweep", "--vfio-faults-most", "12")
    result.assert_outcomes(passed=2)
    last = re.search(r"in all 12 points: (?:\d+ survived, )?(\d+) with a clear error, in 1 test", result.stdout.str())
    assert last, result.stdout.str()
    assert int(last[1]) > 6


def test_a_sweep_finds_what_leaks_what_hangs_and_what_lies(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import os
        import time
        from vfio_ims.errors import VfioImsError

        kept = []

        def swallow(driver, then):
            try:
                driver.device.port.hot_reset_scope()
            except VfioImsError as error:
                if "injected" in str(error):
                    then()

        def test_leaks(ims_driver):
            swallow(ims_driver, lambda: kept.append(os.open("/dev/null", os.O_RDONLY)))

        def test_hangs(ims_driver):
            swallow(ims_driver, lambda: time.sleep(600))

        def test_lies(ims_driver):
            refused = []
            swallow(ims_driver, lambda: refused.append(True))
            if refused:
                raise ValueError("all is well")

        def test_lies_and_then_fails(ims_driver):
            refused = []
            swallow(ims_driver, lambda: refused.append(True))
            try:
                assert not refused, "never refused"
            finally:
                if refused:
                    raise VfioImsError("close")
        """
    )
    options = ("--vfio-faults", "sweep=fail:hot_reset_scope", "--vfio-faults-limit", "1")
    result = inner.runpytest(*options)
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            "swept 1 point: 1 leaked",
            "leaked: mock:minimal: call *, hot_reset_scope: failed with EIO*",
            "    1 descriptor of /dev/null",
            "swept 1 point: 1 hung",
            "    it did not end within 1 s",
            "swept 1 point: 1 unclear",
            "    ValueError: all is well",
            "swept 1 point: 1 unclear",
            "    AssertionError: never refused",
        ]
    )
