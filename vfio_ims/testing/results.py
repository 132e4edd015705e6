# SPDX-License-Identifier: Apache-2.0
"""Results of tests with pictures: what a test measured, in JUnit's file and on pytest-html's page.

The fixture ``vfio_results`` takes them. Every test with an open device names its driver and firmware in JUnit's file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vfio_ims.driver import Driver
    from vfio_ims.html import Page
    from vfio_ims.selftest import Options, Report

__all__ = ["Results", "vfio_results"]

_RESULTS: pytest.StashKey[Results] = pytest.StashKey()
_NOTED: pytest.StashKey[bool] = pytest.StashKey()
_FRAME = "width:100%;height:42rem;border:1px solid #d8dcdf;background:transparent"


class Results:
    """What one test has to show beside pass or fail."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self.pages: dict[str, Page] = {}
        """By name: made when they are asked for, written where pytest-html or ``--vfio-pages`` takes them."""

    def selftest(self, driver: Driver, *, options: Options | None = None) -> Report:
        """Run the self-test on ``driver``; its page and counts go with the test. Assert that it passed.

        Resets the device, and leaves it started with every slot masked and zero: ``vfio_ims.selftest.run``.
        """
        from vfio_ims.provenance import provenance
        from vfio_ims.selftest import run

        report = run(driver, options=options)
        content = {key: value for key, value in report.to_json().items() if key not in ("schema", "kind")}
        record = {"schema": "vfio-ims/selftest", "schema_version": "1.1", **provenance(), **content}
        latency = {} if report.latency is None else {"p50_us": report.latency.p50, "p99_us": report.latency.p99}
        self.note("selftest", {"verdict": report.verdict, **report.counts.to_json(), **latency})
        if _shown(self._item.config):
            from vfio_ims.html.selftest import selftest_page

            self.pages["self-test"] = selftest_page(record)
        return report

    def latencies(self, name: str, seconds: Iterable[float]) -> None:
        """Latencies that the test measured, at least one: percentiles for JUnit's file, a histogram for the page."""
        from vfio_ims.errors import UsageError
        from vfio_ims.html.latency import PERCENTILES, latency_figure, percentile, percentile_table

        samples = [each * 1e6 for each in seconds]
        if not samples:
            raise UsageError(f"take the latencies {name!r}", why="there is none", hint="measure at least one")
        found = {f"{short}_us": round(percentile(samples, share), 1) for short, share in PERCENTILES.items()}
        self.note(name, {"count": len(samples), **found})
        if _shown(self._item.config):
            from vfio_ims.html import Page, Section, elements

            body = elements.join([latency_figure(samples), percentile_table({name: samples})])
            self.pages[name] = Page(f"{name}: {self._item.name}", sections=[Section("Latency", body)])

    def note(self, name: str, values: Mapping[str, object]) -> None:
        """Properties of the test in JUnit's file: ``vfio_NAME_KEY``."""
        prefix = "vfio_" + re.sub(r"\W+", "_", name)
        self._item.user_properties += [(f"{prefix}_{key}", value) for key, value in values.items()]


@pytest.fixture
def vfio_results(request: pytest.FixtureRequest) -> Results:
    """Takes what a test measured: ``selftest(driver)``, ``latencies(name, seconds)``, ``note(name, values)``.

    It is in JUnit's file, as properties, and with pictures on pytest-html's page and in ``--vfio-pages DIR``.
    """
    item: pytest.Item = request.node
    return item.stash.setdefault(_RESULTS, Results(item))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("vfio-ims").addoption(
        "--vfio-pages", metavar="DIR", help="write the pages of results (vfio_results) there: a file a test, no network"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_metadata(metadata: dict[str, object], config: pytest.Config) -> None:
    """What pytest-html's table of the environment has of us."""
    from vfio_ims.provenance import provenance

    about = provenance()
    metadata["vfio-ims"] = f"{about['tool_version']} ({(about['commit'] or 'no commit')[:12]})"
    metadata["Kernel"] = about["kernel"]
    devices = config.getoption("--vfio-device")
    if devices:
        metadata["Devices"] = ", ".join(devices)


def _shown(config: pytest.Config) -> bool:
    """Whether anything takes pages: they are drawn only then."""
    return bool(config.getoption("--vfio-pages") or _html_path(config))


def _html_path(config: pytest.Config) -> str | None:
    """Where pytest-html writes its page; None where it is not installed or not asked for one."""
    found: str | None = config.getoption("htmlpath", None)
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not item.stash.get(_NOTED, False):
        about = _about(getattr(item, "funcargs", {}).values())
        if about:
            item.stash[_NOTED] = True
            item.user_properties += about
            report.user_properties = list(item.user_properties)
    results = item.stash.get(_RESULTS, None)
    if results is not None and call.when == "call" and results.pages:
        _attach(results.pages, item, report)
    return report


def _about(arguments: Iterable[object]) -> list[tuple[str, object]]:
    """Driver and firmware of the devices that a test was given, by whatever fixture."""
    loaded = sys.modules.get("vfio_ims.driver")
    found: list[tuple[str, object]] = []
    for one in arguments:
        if loaded is not None and isinstance(one, loaded.Driver) and not one.closed:
            found += _versions(one)
    return found


def _versions(driver: Driver) -> list[tuple[str, object]]:
    from vfio_ims import __version__
    from vfio_ims.errors import VfioImsError
    from vfio_ims.provenance import commit

    package = type(driver).__module__.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", "not known")
    if package == "vfio_ims":
        version = f"{__version__} ({(commit() or 'no commit')[:12]})"
    try:
        firmware = driver.firmware()
    except VfioImsError as error:
        firmware = f"not known: {error}"
    except Exception as error:  # noqa: BLE001 - a driver's mistake, or one that is half open, ends no run of tests
        firmware = f"not known: {type(error).__name__}: {error}"
    named = [("vfio_driver", type(driver).__name__), ("vfio_driver_version", version)]
    return [*named, *([("vfio_firmware", firmware)] if firmware else [])]


def _attach(pages: Mapping[str, Page], item: pytest.Item, report: pytest.TestReport) -> None:
    from vfio_ims.html import render, write_page

    folder = item.config.getoption("--vfio-pages")
    for name, page in pages.items():
        if folder:
            where = Path(folder) / (re.sub(r"[^\w=-]+", "-", f"{item.nodeid}-{name}").strip("-")[:150] + ".html")
            where.parent.mkdir(parents=True, exist_ok=True)
            write_page(page, where)
            line = f"[[ATTACHMENT|{where.resolve()}]]\n"
            report.sections.append(("Captured stdout vfio-pages", line))
            item.add_report_section("call", "stdout", line)  # so JUnit's system-out has it
        if _html_path(item.config):
            extras: Any = sys.modules["pytest_html"].extras
            shown = getattr(report, "extras", [])
            shown.append(extras.html(_framed(render(page))))
            vars(report)["extras"] = shown


def _framed(page: str) -> str:
    """The page within another, which neither disturbs: styles, ids and scripts are its own."""
    from html import escape

    return f'<iframe srcdoc="{escape(page)}" style="{_FRAME}"></iframe>'
