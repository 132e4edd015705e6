# SPDX-License-Identifier: Apache-2.0
"""The pytest plug-in: ``--vfio-device NAME``, the marker ``vfio``, the fixtures ``vfio_device`` and ``ims_driver``.

It is loaded into every pytest run of its environment, so importing it costs little, and it does nothing until a test
asks for a device. Silicon is touched only where its name was given; tests run on models in this process otherwise.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from vfio_ims import __version__
from vfio_ims.errors import UsageError
from vfio_ims.testing.marker import DESCRIPTION, Wanted
from vfio_ims.testing.recording import MODES, TestRecording, attach, file_of, recording

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.driver import Driver
    from vfio_ims.testing.places import Place, Places

__all__ = ["ims_driver", "places_of", "vfio_device", "vfio_name"]

ENVIRONMENT = "VFIO_IMS_DEVICE"
_CHECKS = "vfio_ims.testing.checks."
_PLACES: pytest.StashKey[Places] = pytest.StashKey()
_OPEN: pytest.StashKey[Device | Driver] = pytest.StashKey()
_RECORDING: pytest.StashKey[TestRecording] = pytest.StashKey()


def places_of(config: pytest.Config) -> Places:
    """The run's devices: for a test that needs a second one."""
    return config.stash[_PLACES]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vfio-ims", "devices with IMS (vfio-ims)")
    group.addoption(
        "--vfio-device",
        action="append",
        default=[],
        metavar="NAME",
        help="run tests on this device: 0000:6a:01.0, vfio-user:SOCKET, mock:MODEL; repeatable. "
        f"Without it: {ENVIRONMENT} (several: separated by spaces), else models in this process.",
    )
    group.addoption(
        "--vfio-require", action="store_true", help="a test that no named device is one for fails, instead of a skip"
    )
    group.addoption(
        "--vfio-driver", action="append", default=[], metavar="PATH", help="load a private driver folder; repeatable"
    )
    group.addoption(
        "--vfio-check-limit",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="what a check of the conformance suite may take before the callback that hangs is named; 0: no limit",
    )
    group.addoption(
        "--vfio-record",
        choices=MODES,
        default="never",
        help="record what a test does with its devices; replay:FILE opens the file as a device",
    )
    group.addoption(
        "--vfio-record-dir", metavar="DIR", default="vfio-recordings", help="where the recordings go; %(default)s"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", DESCRIPTION)
    named = config.getoption("--vfio-device") or os.environ.get(ENVIRONMENT, "").split()
    require = config.getoption("--vfio-require")
    if require and not named:
        raise pytest.UsageError(f"--vfio-require needs a device: --vfio-device NAME, or {ENVIRONMENT}")
    from vfio_ims.testing.places import Places

    places = Places(list(dict.fromkeys(named)), require, config.getoption("--vfio-driver"))
    config.stash[_PLACES] = places
    config.add_cleanup(places.close)


def pytest_report_header(config: pytest.Config) -> str | None:
    places = places_of(config)
    if not places.named and not places.folders:
        return None
    parts = [f"vfio-ims: {__version__}", f"Linux {platform.release()}"]
    parts += [f"devices {' '.join(places.named)}"] if places.named else []
    parts += [f"drivers {' '.join(str(Path(folder).resolve()) for folder in places.folders)}"] if places.folders else []
    return ", ".join(parts)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vfio_name" in metafunc.fixturenames:  # the other fixtures ask for it
        places = places_of(metafunc.config)
        try:
            wanted = Wanted.of(metafunc.definition)
            places.check(wanted)
        except UsageError:  # reported for the whole run, once everything is collected
            wanted = Wanted()
        found = places.places(wanted)
        metafunc.parametrize("vfio_name", found, indirect=True, ids=[str(place) for place in found])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if any("vfio_name" in getattr(item, "fixturenames", ()) for item in items):
        try:
            places_of(config).check_named()
        except UsageError as error:
            raise pytest.UsageError(f"--vfio-device: {error}") from error
    for item in items:
        if item.get_closest_marker("vfio") is not None:
            try:
                wanted = Wanted.of(item)
                places_of(config).check(wanted)
            except UsageError as error:
                raise pytest.UsageError(f"{item.nodeid}: {error}") from error
        if {"vfio_device", "ims_driver"} <= set(getattr(item, "fixturenames", ())):
            why = "vfio_device and ims_driver would open the device twice: take ims_driver, and its .device"
            raise pytest.UsageError(f"{item.nodeid}: {why}")


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    where: Counter[str] = Counter()
    for item in items:
        place = _place_of(item)
        if place is not None:
            where[str(place)] += 1
    if not where:
        return None
    return "vfio-ims: " + ", ".join(f"{count} on {name}" for name, count in where.items())


def _place_of(item: pytest.Item) -> Place | None:
    found: Place | None = item.callspec.params.get("vfio_name") if hasattr(item, "callspec") else None
    return found


@pytest.fixture
def vfio_name(request: pytest.FixtureRequest) -> str:
    """The name of the device that the test runs on: give it to ``vfio_ims.open`` as often as you like."""
    places = places_of(request.config)
    wanted = Wanted.of(request.node)
    place: Place = getattr(request, "param", None) or places.places(wanted)[0]
    if place.kind == "none":
        pytest.skip(place.name)
    if place.kind == "device":
        reason = places.unfit(place.name, wanted)
        if reason and places.require and (homeless := places.homeless(wanted)):
            pytest.fail(f"no device for this test: {homeless}", pytrace=False)
        if reason:
            pytest.skip(reason)
    return places.name_of(place)


def _note(request: pytest.FixtureRequest, opened: Device | Driver, device: Device) -> None:
    """Remember what the test had, for JUnit's file and for the report of a failure."""
    request.node.stash[_OPEN] = opened
    request.node.user_properties += [
        ("vfio_device", device.name),
        ("vfio_mount", device.mount),
        ("kernel", platform.release()),
        ("vfio_ims", __version__),
        ("python", platform.python_version()),
    ]


@pytest.fixture
def vfio_device(vfio_name: str, request: pytest.FixtureRequest) -> Iterator[Device]:
    """The bare device, open: no driver runs. Closed after the test."""
    import vfio_ims

    with vfio_ims.open(vfio_name) as device:
        _note(request, device, device)
        yield device
    del request.node.stash[_OPEN]  # items live as long as the run


@pytest.fixture
def ims_driver(vfio_name: str, request: pytest.FixtureRequest) -> Iterator[Driver]:
    """The device with its vendor's driver started: ``ims_driver.ims`` allocates interrupts. Closed after the test."""
    import vfio_ims

    with vfio_ims.open_driver(vfio_name) as driver:
        _note(request, driver, driver.device)
        yield driver
    del request.node.stash[_OPEN]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Record the whole of a test, fixtures included."""
    mode = item.config.getoption("--vfio-record")
    if mode == "never" or "vfio_name" not in getattr(item, "fixturenames", ()):
        return (yield)
    folder = Path(item.config.getoption("--vfio-record-dir"))
    with recording(file_of(folder, item.nodeid), always=mode == "always") as item.stash[_RECORDING]:
        answer = yield
    del item.stash[_RECORDING]
    return answer


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    opened = item.stash.get(_OPEN, None)
    if call.when == "call" and opened is not None and report.failed and not opened.closed:
        with contextlib.suppress(Exception):  # a broken device must not hide why the test failed
            report.sections.append((f"device {opened.label}", _state(opened)))
    kept = item.stash.get(_RECORDING, None)
    if kept is not None:
        attach(kept, item, report)
    raised = None if call.excinfo is None else call.excinfo.value
    if report.failed and raised is not None and getattr(item, "function", pytest).__module__.startswith(_CHECKS):
        from vfio_ims.testing.contract import contract_of

        where = "" if isinstance(raised, pytest.fail.Exception) else contract_of(raised.__traceback__)
        report.sections += [("contract", where)] if where else []
    return report


def _state(opened: Device | Driver) -> str:
    """What a failed test's device looks like now."""
    if not hasattr(opened, "verdict"):
        return repr(opened)
    driver = cast("Driver", opened)
    lines = [str(driver.verdict), driver.status()]
    if "ims" in vars(driver):
        lines.append(str(driver.ims.report()))
    return "\n".join(line for line in lines if line)
