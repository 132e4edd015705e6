# SPDX-License-Identifier: Apache-2.0
"""``--vfio-record``: which files stay, and where they are named."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

import vfio_ims
from vfio_ims.tracing import read_recording

TESTS = """
    def test_good(ims_driver):
        with ims_driver.ims.allocate() as irq:
            ims_driver.fire(irq.slot)
            assert irq.wait(1)

    def test_bad(vfio_device):
        assert vfio_device.bar(0).read32(0) == 1

    def test_without_a_device():
        assert False
"""


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("never", []), ("on-failure", ["test_bad"]), ("always", ["test_bad", "test_good"])],
)
def test_the_recordings_that_were_asked_for_stay_and_are_named(
    pytester: pytest.Pytester, mode: str, kept: list[str]
) -> None:
    pytester.makepyfile(test_it=TESTS)
    options = ["-p", "no:cacheprovider", "--vfio-device", "mock:minimal", f"--vfio-record={mode}"]
    junit = pytester.path / "junit.xml"
    done = pytester.runpytest_subprocess(*options, f"--junitxml={junit}", "-o", "junit_logging=system-out")
    done.assert_outcomes(passed=1, failed=2)
    found = sorted((pytester.path / "vfio-recordings").glob("*"))
    assert [path.name for path in found] == [f"test_it-py-{name}-mock-minimal.jsonl.gz" for name in kept]
    named = {
        case.get("name", "").partition("[")[0]: (one.get("value"), case.findtext("system-out") or "")
        for case in ElementTree.parse(junit).iter("testcase")
        for one in case.iter("property")
        if one.get("name") == "vfio_recording"
    }
    assert sorted(named) == kept
    for path, (value, printed) in zip(found, (named[name] for name in kept), strict=True):
        assert value == str(path)
        assert f"[[ATTACHMENT|{path}]]" in printed
        assert read_recording(path).events[-1]["k"] == "close"
    if mode == "on-failure":
        with vfio_ims.open(f"replay:{found[0]}") as device:
            assert device.bar(0).read32(0) == 0x494D_5331
