# SPDX-License-Identifier: Apache-2.0
"""``--vfio-faults`` and the fixture ``vfio_faults``: tests run with faults, and once for each point where one can meet.

This module is the light half, which every pytest run loads; ``fault_sweep`` does the sweeping.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from vfio_ims.errors import UsageError

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.driver import Driver
    from vfio_ims.faults import Fault, Faults

__all__ = ["FaultRun", "add_options", "register", "vfio_faults"]

SWEEP = "sweep"
_OPENED = ("ims_driver", "vfio_device")


def add_options(group: pytest.OptionGroup) -> None:
    """The options on faults."""
    group.addoption(
        "--vfio-faults",
        metavar="FAULT|sweep[=FAULT]",
        help="run tests with this fault, as docs/faults.md writes it; sweep: run each test once for each call of its "
        "devices, with that call failing (or, with =FAULT, with FAULT then: lost, req, fail:any:ENODEV+)",
    )
    group.addoption(
        "--vfio-faults-most",
        type=int,
        default=0,
        metavar="N",
        help="a sweep takes at most N points of a test, evenly spread; 0: all",
    )
    group.addoption(
        "--vfio-faults-limit",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="a run of a sweep that takes longer hangs; %(default)s",
    )


def register(config: pytest.Config) -> None:
    """Take part in the run where faults were asked for. UsageError for one that is none."""
    wanted = config.getoption("--vfio-faults")
    if not wanted:
        return
    try:
        if wanted.partition("=")[0] == SWEEP:
            from vfio_ims.testing.fault_sweep import FaultSweep

            given = wanted.partition("=")[2] or "fail:any"
            most, limit = config.getoption("--vfio-faults-most"), config.getoption("--vfio-faults-limit")
            config.pluginmanager.register(FaultSweep(given, most, limit), "vfio-faults")
        else:
            from vfio_ims.faults import parse_faults

            config.pluginmanager.register(FaultRun(parse_faults(wanted)), "vfio-faults")
    except UsageError as error:
        raise pytest.UsageError(f"--vfio-faults: {error}") from error


@pytest.fixture
def vfio_faults(request: pytest.FixtureRequest) -> Iterator[Callable[..., Faults]]:
    """Inject faults: ``faults = vfio_faults("drop@2")``, into the test's device or the one given as ``device=``.

    They last until the test's end, when one that never happened is an error.
    """
    from vfio_ims.faults import inject

    stack, records = ExitStack(), []

    def into(*faults: str | Fault, device: Device | Driver | None = None) -> Faults:
        name = next((one for one in _OPENED if one in request.fixturenames), None)
        if device is None and name is None:
            pytest.fail(f"vfio_faults: which device? Take {' or '.join(_OPENED)}, or say device=", pytrace=False)
        found = device or request.getfixturevalue(str(name))
        record = stack.enter_context(inject(found, *faults, warn=False))
        records.append(record)
        return record

    with stack:
        yield into
    never = [f"{record.device}: {record.words_of_unused}" for record in records if record.unused]
    if never:
        pytest.fail("\n".join(never), pytrace=False)


class FaultRun:
    """Every test's devices have the same faults."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults
        self._records: list[Faults] = []
        self._met: dict[int, int] = dict.fromkeys(map(id, faults), 0)
        self._tests = 0

    def pytest_report_header(self) -> str:
        return f"vfio-ims faults: {', '.join(map(str, self._faults))}"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        if "vfio_name" not in getattr(item, "fixturenames", ()):
            return (yield)
        from vfio_ims.faults import inject_opened

        with inject_opened(*self._faults) as self._records:
            answer = yield
        self._tests += 1
        for fault in self._faults:
            self._met[id(fault)] += any(one.fault is fault for record in self._records for one in record)
        return answer

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "call" and self._records:
            report.sections.append(("injected faults", "\n".join(map(str, self._records))))
        return report

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from vfio_ims.counted import counted

        terminalreporter.section("injected faults", sep="-")
        for fault in self._faults:
            terminalreporter.line(f"{fault}: happened in {self._met[id(fault)]} of {counted(self._tests, 'test')}")
