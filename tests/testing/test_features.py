# SPDX-License-Identifier: Apache-2.0
"""The marker ``vfio_feature``: a test runs where its device has what it needs."""

from __future__ import annotations

import pytest

TESTS = """
    import pytest

    @pytest.mark.vfio_feature("ims", "mask")
    def test_mask(ims_driver):
        assert ims_driver.ims.table.has_mask

    @pytest.mark.vfio_feature("pasid")
    def test_pasid(ims_driver):
        assert ims_driver.ims.table.has_pasid

    @pytest.mark.vfio_feature("flr")
    @pytest.mark.vfio_feature(slots=16)
    def test_reset(vfio_device):
        assert vfio_device.can_reset

    @pytest.mark.vfio_feature(slots=17, donors=5)
    def test_many(ims_driver):
        assert ims_driver.verdict.slots >= 17 and ims_driver.verdict.donors >= 5
"""


def test_a_named_device_runs_what_it_has(inner: pytest.Pytester) -> None:
    inner.makepyfile(TESTS)
    result = inner.runpytest("--vfio-device", "mock:minimal", "-rs")
    result.assert_outcomes(passed=2, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "vfio-ims: 2 on mock:minimal, 2 for other devices",
            "*mock:minimal has not what this test needs: slots with a PASID",
            "*mock:minimal has not what this test needs: 17 slots (it has 16), 5 donors (it has 4)",
        ]
    )
    inner.runpytest("--vfio-device", "mock:minimal,flr=no").assert_outcomes(passed=1, skipped=3)


def test_one_of_two_devices_does(inner: pytest.Pytester) -> None:
    inner.makepyfile(TESTS)
    devices = ["--vfio-device", "mock:minimal", "--vfio-device", "mock:intel-dsa", "--vfio-require"]
    inner.runpytest(*devices).assert_outcomes(passed=6, skipped=2)


def test_required_features_that_no_device_has_are_an_error(inner: pytest.Pytester) -> None:
    inner.makepyfile(TESTS)
    result = inner.runpytest("--vfio-device", "mock:minimal", "--vfio-require", "-k", "pasid")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["no device for this test: mock:minimal has not what this test needs: slots with a PAS*"]
    )


def test_without_a_device_a_model_that_has_it_is_taken(inner: pytest.Pytester) -> None:
    inner.makepyfile(TESTS)
    inner.runpytest().assert_outcomes(passed=4)


def test_a_markers_own_model_is_skipped_where_it_lacks_it(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.vfio(model=["minimal", "intel-dsa"], mount=["mock", "vfio-user"])
        @pytest.mark.vfio_feature("pasid")
        def test_it(ims_driver):
            assert ims_driver.ims.table.has_pasid
    """
    )
    inner.runpytest().assert_outcomes(passed=2, skipped=2)


def test_what_no_model_has_is_skipped_by_name(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.vfio_feature("pasid", slots=1000000)
        def test_it(ims_driver): pass
    """
    )
    result = inner.runpytest("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no device is named, and no model has what this test needs: pasid, 1000000 slots"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("'passid'", "*a feature must be one of*not 'passid'; did you mean 'pasid'?*"),
        ("slot=3", "*an argument must be one of donors, slots, not 'slot'; did you mean 'slots'?*"),
        ("slots='3'", "*slots must be a number from 1, not '3'*"),
    ],
)
@pytest.mark.parametrize("named", [(), ("--vfio-device", "mock:minimal")])
def test_a_wrong_marker_ends_the_run(inner: pytest.Pytester, arguments: str, says: str, named: tuple[str, ...]) -> None:
    inner.makepyfile(f"import pytest\n@pytest.mark.vfio_feature({arguments})\ndef test_it(ims_driver): pass")
    result = inner.runpytest(*named)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *test_it*{says}"])
    result.stderr.fnmatch_lines(['*write it as @pytest.mark.vfio_feature("mask", "pasid", slots=16, donors=2)'])
