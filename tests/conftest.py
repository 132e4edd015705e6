# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests."""

import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.vm.lab import HUNG_BOOTS
from tests.vm.pieces import PROVISION, SKIPPED

pytest_plugins = ["pytester"]  # only the conftest on top may name plug-ins

# A script started in the background ignores Ctrl-C, and so would every test and child of it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Leave no time limit of hypothesis in force: on a busy machine it measures the machine."""
    if config.pluginmanager.hasplugin("hypothesispytest"):
        from hypothesis import settings

        settings.register_profile("any machine", deadline=None)
        settings.load_profile("any machine")


_ON_REQUEST = ("benchmarks",)
"""Folders that run only when they are named: speed is measured on a machine that does nothing else."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what was not asked for by name."""
    name = collection_path.name
    if name in _ON_REQUEST and not any(name in argument for argument in config.args):
        return True
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give all tests that lack a guest one place, so that the summary reports them as one line with the remedy."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and SKIPPED in report.longrepr[2]:
        report.longrepr = (str(PROVISION), 1, report.longrepr[2])
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report each boot of a guest that hung and was repeated: no test failed by it, but it is not to go unseen."""
    for report in HUNG_BOOTS:
        terminalreporter.section("a guest's boot hung, and was repeated", sep="-")
        terminalreporter.line(report)
