# SPDX-License-Identifier: Apache-2.0
"""The other PCs of Intel: PASIDs in scalable mode, and one that remaps no interrupts. AMD: test_amd.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL_NOREMAP, INTEL_SCALABLE
from tests.vm.served import Lab, bench

INTERFACES = ("type1", "iommufd")


@pytest.fixture(scope="module", autouse=True)
def _provisioned() -> None:
    need_vm()


def passes(lab: Lab, name: str, *interfaces: str, slots: int | None = None, least: int = 8) -> list[str]:
    """The self-test passes on these interfaces, with ``least`` fires a slot; what it said of the device."""
    some = [] if slots is None else ["--slots", str(slots)]
    verdicts = []
    for interface in interfaces:
        argv = ["vfio-ims", "selftest", lab[name], "--iommu", interface, "--timeout", "20", "--json", *some]
        report = lab.run(argv, timeout=400).check().json
        counts = {key: report[key] for key in ("slots", "fired", "delivered", "withheld", "unexpected", "lost")}
        print(f"{lab.guest.platform.name} {name} {interface}: {counts}, {report['seconds']:.1f} s")
        assert report["delivered"] == report["fired"] >= least * report["slots"]
        assert not any(report[key] for key in ("lost", "duplicated", "misrouted", "unexpected"))
        verdicts.append(report["ladder"][0]["text"])
    return verdicts


def messages(lab: Lab, name: str) -> str:
    """What a live device's messages are said to be."""
    lines = lab.run(["vfio-ims", "show", lab[name], "--live"]).check().stdout.splitlines()
    return next(line for line in lines if line.strip().startswith("messages:"))


# --- scalable mode ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scalable() -> Iterator[Lab]:
    with bench(INTEL_SCALABLE, dsa="intel-dsa", minimal="minimal") as lab:
        yield lab


def test_slots_fire_in_scalable_mode(scalable: Lab) -> None:
    passes(scalable, "minimal", *INTERFACES)
    passes(scalable, "dsa", "iommufd", slots=64)


def test_pasids_are_attached_where_there_are_some(scalable: Lab) -> None:
    facts = scalable.scenario("pasids", f"{scalable['dsa']},iommu=iommufd")
    assert facts["bits"] == 20
    assert "is attached already" in facts["PASID 0x5"]
    assert "must be 1..0xfffff" in facts["PASID 0x100000"]


def test_a_pasid_is_not_believed_without_the_capability(scalable: Lab) -> None:
    """The kernel says "success" to a plain attach, and nothing happens."""
    facts = scalable.scenario("pasids", f"{scalable['minimal']},iommu=iommufd")
    assert facts["bits"] == 0
    assert facts["plain attach"] == "success"
    assert "the function has no PASID capability" in facts["refused"]


# --- without remapping ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noremap() -> Iterator[Lab]:
    with bench(INTEL_NOREMAP, minimal="minimal") as lab:
        yield lab


@pytest.mark.parametrize("interface", INTERFACES)
def test_without_remapping_a_moved_vector_is_noticed_and_repaired(noremap: Lab, interface: str) -> None:
    facts = noremap.scenario("moved_vector", f"{noremap['minimal']},iommu={interface}")
    assert "remapping OFF: slots are rewritten when a vector moves" in facts["verdict"]
    assert facts["needs_checks"]
    assert facts["noticed"] == [0]
    assert facts["before_a_timeout"], "a wait that was about to time out looks first, and rewrites"
    assert "No irq handler" in noremap.guest.console, "the slots were stale indeed"


def test_without_remapping_slots_fire_all_the_same(noremap: Lab) -> None:
    for verdict in passes(noremap, "minimal", *INTERFACES):
        assert "remapping OFF" in verdict
    assert "messages: x86 compatibility format (interrupt " in messages(noremap, "minimal")


def test_without_remapping_and_unsafe_interrupts_the_parameter_is_named() -> None:
    """EPERM there is no lack of permission."""
    strict = dataclasses.replace(INTEL_NOREMAP, kernel=("intel_iommu=on,sm_off",))
    with bench(strict, minimal="minimal") as lab:
        for interface, parameter in (("type1", "vfio_iommu_type1"), ("iommufd", "iommufd")):
            done = lab.run(["vfio-ims", "selftest", lab["minimal"], "--iommu", interface]).check(status=3)
            assert "the platform has no interrupt remapping (this is no file permission)" in done.stderr
            assert f"{parameter}.allow_unsafe_interrupts=1" in done.stderr
