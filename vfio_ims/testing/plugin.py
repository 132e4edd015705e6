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
from collections.abc import Generator
from pathlib import Path

import pytest

from vfio_ims import __version__
from vfio_ims.errors import UsageError
from vfio_ims.testing import faults
from vfio_ims.testing.faults import vfio_faults
from vfio_ims.testing.features import FEATURE_DESCRIPTION
from vfio_ims.testing.fixtures import ims_driver, vfio_clean, vfio_device, vfio_name
from vfio_ims.testing.marker import DESCRIPTION, Wanted
from vfio_ims.testing.options import ENVIRONMENT, add_options
from vfio_ims.testing.recording import attach, file_of, recording
from vfio_ims.testing.stash import (
    ADMISSION,
    CLEANER,
    FAILED,
    ITEM,
    OPENED,
    PLACES,
    RECORDING,
    admit,
    place_of,
    places_of,
)
from vfio_ims.testing.tracebacks import UNUSABLE, shorten

__all__ = ["ims_driver", "places_of", "vfio_clean", "vfio_device", "vfio_faults", "vfio_name"]

pytest_plugins = ("vfio_ims.testing.results",)

_CHECKS = "vfio_ims.testing.checks."


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", DESCRIPTION)
    config.addinivalue_line("markers", FEATURE_DESCRIPTION)
    named = config.getoption("--vfio-device") or os.environ.get(ENVIRONMENT, "").split()
    require = config.getoption("--vfio-require")
    if require and not named:
        raise pytest.UsageError(f"--vfio-require needs a device: --vfio-device NAME, or {ENVIRONMENT}")
    from vfio_ims.testing.admission import Admission
    from vfio_ims.testing.clean import Cleaner
    from vfio_ims.testing.opened import OpenDevices
    from vfio_ims.testing.places import Places

    places = Places(list(dict.fromkeys(named)), require, config.getoption("--vfio-driver"))
    config.stash[PLACES], config.stash[OPENED] = places, OpenDevices(config.getoption("--vfio-last"))
    config.stash[ADMISSION] = Admission(places, config.stash[OPENED], config.getoption("--vfio-wait"))
    config.stash[CLEANER] = Cleaner()
    config.add_cleanup(places.close)
    config.add_cleanup(config.stash[ADMISSION].close)
    faults.register(config)
    config.add_cleanup(config.stash[OPENED].close)
    if config.getoption("numprocesses", None) and config.getoption("--vfio-device"):
        _check_named(config)  # once, instead of once in each process


def _check_named(config: pytest.Config) -> None:
    try:
        places_of(config).check_named()
    except UsageError as error:
        raise pytest.UsageError(f"--vfio-device: {error}") from error


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Give one process all tests of one device, where the user did not choose another way to spread them."""
    from vfio_ims.testing.named import lock_name
    from vfio_ims.testing.spread import scheduler

    shared = [name for name in places_of(config).named if lock_name(name)]
    return scheduler(config, log, shared) if shared and config.getvalue("dist") == "load" else None


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
        _check_named(config)
    for item in items:
        if item.get_closest_marker("vfio") is not None or item.get_closest_marker("vfio_feature") is not None:
            try:
                wanted = Wanted.of(item)
                places_of(config).check(wanted)
            except UsageError as error:
                raise pytest.UsageError(f"{item.nodeid}: {error}") from error
        if {"vfio_device", "ims_driver"} <= set(getattr(item, "fixturenames", ())):
            why = "vfio_device and ims_driver would open the device twice: take ims_driver, and its .device"
            raise pytest.UsageError(f"{item.nodeid}: {why}")


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    places, where, others = places_of(config), Counter[str](), 0
    for item in items:
        place = place_of(item)
        try:
            wanted = Wanted.of(item)
        except UsageError:  # the run ends by it, and pytest still asks what was collected
            return None
        if place is not None and place.kind == "device" and places.known_unfit(place.name, wanted):
            others += 1
        elif place is not None:
            where[str(place)] += 1
    parts = [f"{count} on {name}" for name, count in where.items()]
    parts += [f"{others} for other devices"] if others else []
    return "vfio-ims: " + ", ".join(parts) if parts else None


# --- running ----------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Watch which devices a test opens, fixtures included, and record them where that is asked for."""
    if "vfio_name" not in getattr(item, "fixturenames", ()):
        return (yield)
    mode = item.config.getoption("--vfio-record")
    with contextlib.ExitStack() as stack:
        stack.enter_context(item.config.stash[OPENED].watched())
        if mode != "never":
            file = file_of(Path(item.config.getoption("--vfio-record-dir")), item.nodeid)
            item.stash[RECORDING] = stack.enter_context(recording(file, always=mode == "always"))
        answer = yield
    if mode != "never":
        del item.stash[RECORDING]
    return answer


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Decide whether the test runs on its device, before any fixture opens it."""
    item.config.stash[ITEM] = item
    item.config.stash[OPENED].forget_closed()  # of this test's run before, where it is run again
    place = place_of(item)
    if place is not None:
        admit(item, place)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(request: pytest.FixtureRequest) -> Generator[None, object, object]:
    """Take note of the scope of what opens devices now."""
    opened = request.config.stash[OPENED]
    before, opened.scope = opened.scope, request.scope
    try:
        return (yield)
    finally:
        opened.scope = before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Take note of what the test itself makes of devices that may serve further tests."""
    if place_of(item) is not None:
        item.config.stash[CLEANER].begin(item.config.stash[OPENED].shared())
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    place = place_of(item)
    try:
        return (yield)
    finally:
        if place is not None:
            from vfio_ims.testing.clean import DeviceNotClean

            try:
                for line in item.config.stash[CLEANER].end(failed=item.stash.get(FAILED, False)):
                    item.warn(DeviceNotClean(f"{item.nodeid}: {line}"))
            except UNUSABLE as error:
                item.config.stash[ADMISSION].failed(place, item.nodeid, error)
            finally:
                item.config.stash[ADMISSION].leave(place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    raised = None if call.excinfo is None else call.excinfo.value
    place = place_of(item)
    if call.excinfo is not None and place is not None:
        shorten(call.excinfo)
    report = yield
    if report.failed and place is not None and raised is not None:
        item.config.stash[ADMISSION].failed(place, item.nodeid, raised)
        item.stash[FAILED] = True
        if call.when != "teardown":
            report.sections += item.config.stash[OPENED].sections(raised)
    kept = item.stash.get(RECORDING, None)
    if kept is not None:
        attach(kept, item, report)
    if report.failed and raised is not None and getattr(item, "function", pytest).__module__.startswith(_CHECKS):
        from vfio_ims.testing.contract import contract_of

        where = "" if isinstance(raised, pytest.fail.Exception) else contract_of(raised.__traceback__)
        report.sections += [("contract", where)] if where else []
    return report
