# SPDX-License-Identifier: Apache-2.0
"""Between tests on one open device: what a test left is closed, what it broke is repaired."""

from __future__ import annotations

import pytest

SHARED = ("--vfio-scope", "module")
CLEAN = ("-W", "error::vfio_ims.testing.clean.DeviceNotClean")


def test_what_a_test_left_is_closed_and_named(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        kept = []

        def test_leaves(ims_driver):
            device = ims_driver.device
            kept.extend(ims_driver.ims.allocate() for _ in range(2))
            ims_driver.ims.allocate_polled()
            ims_driver.ims.allocate(slot=9)
            kept.append(device.dma.allocate(4096))
            kept.append(device.interrupts.open_msix(3))

        def test_next(ims_driver):
            assert all(one.closed for one in kept)
            assert ims_driver.ims.allocated == []
            with ims_driver.ims.allocate() as irq:
                ims_driver.fire(irq.slot)
                assert irq.wait(timeout=5)
    """
    )
    result = inner.runpytest(*SHARED, "-W", "default")
    result.assert_outcomes(passed=2)
    text = " ".join(result.stdout.str().split())
    assert "DeviceNotClean: " in text
    assert "test_leaves[mock:minimal]: mock:minimal: the test left 4 slots allocated: 0, 1, 2, 9" in text
    assert text.count("the test left") == 1


def test_a_fixture_of_a_testers_own_is_cleaned_as_well(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest
        import vfio_ims

        @pytest.fixture(scope="session")
        def mine(vfio_name):
            with vfio_ims.open_driver(vfio_name) as driver:
                yield driver

        def test_leaves(mine):
            mine.ims.allocate()

        def test_next(mine):
            assert mine.ims.allocated == []
    """
    )
    inner.runpytest("-W", "default").assert_outcomes(passed=2)


def test_what_fixtures_hold_stays(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def irq(ims_driver):
            with ims_driver.ims.allocate() as irq:
                yield irq

        @pytest.mark.parametrize("n", range(2))
        def test_it(ims_driver, irq, n):
            ims_driver.fire(irq.slot)
            assert irq.wait(timeout=5)
    """
    )
    result = inner.runpytest(*SHARED, *CLEAN)
    result.assert_outcomes(passed=2)


def test_what_a_driver_keeps_for_itself_stays(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.vfio(model="intel-dsa")
        @pytest.mark.parametrize("n", range(2))
        def test_it(ims_driver, n):
            with ims_driver.device.dma.allocate(4096) as memory, ims_driver.wq(0) as wq:
                wq.memmove(memory.iova + 64, memory.iova, 64)
    """
    )
    inner.runpytest(*SHARED, *CLEAN).assert_outcomes(passed=2)


def test_a_device_that_was_reset_behind_its_drivers_back_is_started_again(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def irq(ims_driver):
            with ims_driver.ims.allocate() as irq:
                yield irq

        def test_resets(ims_driver, irq):
            ims_driver.device.reset()

        def test_next(ims_driver, irq):
            irq.wait(timeout=0)  # every owner is woken once
            ims_driver.fire(irq.slot)
            assert irq.wait(timeout=5)
    """
    )
    result = inner.runpytest(*SHARED, "-W", "default")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*DeviceNotClean: *test_resets*: reset"])


def test_a_failed_test_is_followed_by_a_reset(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        resets = []

        def test_fails(ims_driver):
            ims_driver.device.after_reset(lambda: resets.append("done"))
            assert not resets
            assert False

        def test_next(ims_driver):
            assert resets == ["done"]
    """
    )
    inner.runpytest(*SHARED).assert_outcomes(passed=1, failed=1)


def test_the_fixture_resets_a_shared_device_first(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        resets = []

        def test_first(ims_driver):
            ims_driver.device.after_reset(lambda: resets.append("done"))

        def test_second(ims_driver):
            assert not resets

        def test_third(ims_driver, vfio_clean):
            assert resets == ["done"]
    """
    )
    inner.runpytest(*SHARED).assert_outcomes(passed=3)
