# SPDX-License-Identifier: Apache-2.0
"""Devices that stay open for several tests: by the plug-in's option, and by fixtures of a tester's own."""

from __future__ import annotations

import pytest

OWN = """
    import pytest
    import vfio_ims

    opened = []

    @pytest.fixture(scope="{scope}")
    def mine(vfio_name):
        with vfio_ims.open_driver(vfio_name) as driver:
            opened.append(vfio_name)
            yield driver

    @pytest.mark.parametrize("n", range(3))
    def test_fires(mine, n):
        with mine.ims.allocate() as irq:
            mine.fire(irq.slot)
            assert irq.wait(timeout=5)

    def test_last(mine):
        assert len(opened) == {opened}
"""


@pytest.mark.parametrize(("scope", "opened"), [("session", 2), ("module", 2), ("class", 8)])
def test_a_fixture_of_any_scope_opens_each_device(inner: pytest.Pytester, scope: str, opened: int) -> None:
    """The last test runs once a device, so that it is the second one that counts to ``opened``."""
    inner.makepyfile(OWN.replace("len(opened) ==", "len(opened) <=").format(scope=scope, opened=opened))
    result = inner.runpytest("--vfio-device", "mock:minimal,seed=1", "--vfio-device", "mock:minimal,seed=2")
    result.assert_outcomes(passed=8)


@pytest.mark.parametrize(("scope", "same"), [("function", False), ("module", True), ("session", True)])
def test_the_option_says_how_long_a_device_stays_open(inner: pytest.Pytester, scope: str, same: bool) -> None:
    inner.makepyfile(
        f"""
        seen = []

        def test_first(ims_driver):
            seen.append(ims_driver)

        def test_second(ims_driver):
            assert (ims_driver is seen[0]) is {same}
            assert seen[0].closed is not {same}
    """
    )
    inner.runpytest("--vfio-scope", scope).assert_outcomes(passed=2)


def test_a_marker_chooses_the_model_of_a_shared_fixture(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest
        import vfio_ims

        @pytest.fixture(scope="session")
        def mine(vfio_name):
            with vfio_ims.open_driver(vfio_name) as driver:
                yield driver

        def test_default(mine):
            assert type(mine).__name__ == "Minimal"

        @pytest.mark.vfio(model="synopsys-edma")
        def test_marked(mine):
            assert type(mine).__name__ != "Minimal"
    """
    )
    inner.runpytest().assert_outcomes(passed=2)
