# SPDX-License-Identifier: Apache-2.0
"""What tests measured, where people look: JUnit's file, pytest-html's page, a folder of pages."""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib.backends.backend_svg  # noqa: F401 - once for all inner runs: numpy cannot be loaded twice
import pytest

from vfio_ims import __version__
from vfio_ims.html.reading import read_runs

MEASURES = """
    import pytest

    @pytest.mark.vfio(model="minimal")
    def test_slots(vfio_results, ims_driver):
        from vfio_ims.selftest import Options
        report = vfio_results.selftest(ims_driver, options=Options(reset=False, masks=False))
        assert report.passed, str(report)

    def test_latency(vfio_results):
        vfio_results.latencies("wake up", [number / 1e6 for number in range(1, 102)])
"""


def properties(junit: Path) -> dict[str, dict[str, str]]:
    cases = ElementTree.parse(junit).getroot().iter("testcase")
    return {
        case.get("name", "").partition("[")[0]: {
            each.get("name", ""): each.get("value", "") for each in case.iter("property")
        }
        for case in cases
    }


def test_junit_has_driver_versions_and_what_was_measured(inner: pytest.Pytester) -> None:
    inner.makepyfile(MEASURES)
    inner.runpytest("--junitxml=j.xml").assert_outcomes(passed=2)
    found = properties(inner.path / "j.xml")
    assert found["test_slots"]["vfio_driver"] == "Minimal"
    assert found["test_slots"]["vfio_driver_version"].startswith(f"{__version__} (")
    assert found["test_slots"]["vfio_selftest_verdict"] == "passed"
    assert int(found["test_slots"]["vfio_selftest_fired"]) == int(found["test_slots"]["vfio_selftest_delivered"]) > 0
    assert (found["test_latency"]["vfio_wake_up_p50_us"], found["test_latency"]["vfio_wake_up_max_us"]) == (
        "51.0",
        "101.0",
    )
    assert "vfio_driver" not in found["test_latency"]


def test_firmware_is_named_where_the_device_says_it(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        def test_it(ims_driver):
            pass
        """
    )
    inner.runpytest("--vfio-device=mock:intel-dsa", "--junitxml=j.xml").assert_outcomes(passed=1)
    assert properties(inner.path / "j.xml")["test_it"]["vfio_firmware"] == "version 1.0"


def test_pages_go_to_the_folder_that_is_named(inner: pytest.Pytester) -> None:
    inner.makepyfile(MEASURES)
    junit = ("--junitxml=j.xml", "-o", "junit_logging=all")
    result = inner.runpytest("--vfio-pages=out", "--vfio-device=mock:minimal,defect=alias", *junit)
    result.assert_outcomes(passed=1, failed=1)
    named = sorted(re.findall(r"\[\[ATTACHMENT\|(.*)\]\]", (inner.path / "j.xml").read_text()))
    assert named == sorted(str(path.resolve()) for path in (inner.path / "out").iterdir())
    (slots,) = (inner.path / "out").glob("*test_slots*self-test.html")
    assert [run["verdict"] for run in read_runs(slots)] == ["failed"]
    (latency,) = (inner.path / "out").glob("*wake-up.html")
    assert "p99.9" in latency.read_text()


def test_pytest_html_shows_the_pictures(inner: pytest.Pytester) -> None:
    inner.makepyfile(MEASURES)
    plugins = ("-p", "pytest_html.plugin", "-p", "pytest_metadata.plugin")
    inner.runpytest(*plugins, "--html=all.html", "--self-contained-html", "--vfio-device=mock:minimal").assert_outcomes(
        passed=2
    )
    page = (inner.path / "all.html").read_text()
    blob = re.search(r'data-jsonblob="([^"]*)"', page)
    assert blob is not None
    content = json.loads(html.unescape(blob[1]))
    assert content["environment"]["vfio-ims"].startswith(__version__)
    assert content["environment"]["Devices"] == "mock:minimal"
    tests = content["tests"]
    shown = {name.partition("::")[2].partition("[")[0]: runs[0]["extras"] for name, runs in tests.items()}
    (slots,) = shown["test_slots"]
    framed = re.fullmatch(r'<iframe srcdoc="([^"]*)" style="[^"]*"></iframe>', slots["content"])
    assert framed is not None
    assert "Slot map" in html.unescape(framed[1])
    assert len(shown["test_latency"]) == 1


def test_nothing_is_drawn_where_nothing_shows_it(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfio_ims.html.selftest.selftest_page", None)
    inner.makepyfile(MEASURES)
    inner.runpytest().assert_outcomes(passed=2)
