# SPDX-License-Identifier: Apache-2.0
"""arm64 under a real kernel: a GICv3's ITS, a virtio-iommu, models as functions, IMS by iommufd.

One boot shows IMS, another MSI-X, and none both: an ITS tells senders apart, and to QEMU's a message that a vfio-user
server writes is DeviceID 0 while MSI-X is the function's own (`docs/platforms.md` has both on the mock's ITS).
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.arm64.pieces import need_arm64
from tests.vm.platforms import VIRT, VIRT_MSIX
from tests.vm.served import SCENARIOS, Lab, bench
from vfio_ims.testing.server import ServedModel

MODELS = {"minimal": "minimal", "dsa": "intel-dsa", "edma": "synopsys-edma"}
SLOTS = {"minimal": 16, "dsa": 16, "edma": 4}
"""How many slots of each the self-test fires: of a DSA's 2048, so many that every donor serves two."""
TRANSLATER = 0x8090040  # GITS_TRANSLATER of QEMU's `virt` (measured)
NATIVE = ("single_access", "ioctl", "fork")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need_arm64()
    with bench(VIRT, **MODELS) as booted:
        yield booted


@pytest.fixture(scope="module")
def reports(lab: Lab) -> dict[str, dict[str, Any]]:
    """The self-tests, two at a time."""
    commands = [[str(SCENARIOS / "its.py"), lab[name], str(SLOTS[name])] for name in MODELS]
    return {name: done.check().json for name, done in zip(MODELS, lab.run_all(commands, timeout=250), strict=True)}


@pytest.mark.parametrize("model", MODELS)
def test_every_fire_arrives_through_the_its(reports: dict[str, dict[str, Any]], model: str) -> None:
    report = reports[model]
    print(f"{model}: {report['delivered']} of {report['fired']} fires, {report['seconds']:.1f} s")
    assert report["verdict"] == "passed", report["findings"]
    assert report["ladder"][0]["text"].endswith("remapping on")
    assert {rung["name"]: rung["outcome"] for rung in report["ladder"]} == {
        "verdict": "passed",
        "software trigger": "passed",
        "own MSI-X": "not applicable",
        "DMA word": "passed",
        "donor's message": "passed",
    }
    assert report["slots"] == SLOTS[model]
    assert report["delivered"] == report["fired"] >= 4 * SLOTS[model]
    assert all(report[name] == 0 for name in ("lost", "duplicated", "misrouted", "unexpected"))
    addresses, events, texts = zip(*report["messages"], strict=True)
    assert set(addresses) == {TRANSLATER}
    assert len(set(events)) == 4, "an event of its own for each vector"
    assert all("GICv3 ITS event" in text for text in texts)


def test_what_is_said_of_the_machine(lab: Lab) -> None:
    listed = lab.run(["vfio-ims", "list"])
    doctor, shown = lab.run_all([["vfio-ims", "doctor"], ["vfio-ims", "show", lab["minimal"], "--live"]])
    for name in MODELS:
        assert re.search(rf"^{lab[name]} .* usable ", listed.check().stdout, re.MULTILINE), listed
    text = doctor.check().stdout
    assert re.search(r"ok +present: 0000:00:01.0: \d+ IOMMU groups", text), text
    assert re.search(r"ok +interrupt remapping: interrupt \d+ has chip ITS-PCI-MSIX", text), text
    assert "this machine is arm64" in text
    assert "ST64B" in text
    assert not re.search("intel_iommu|amd_iommu|AMD-Vi|x2APIC|MOVDIR64B", text), text
    assert "messages: GICv3 ITS (" in shown.check().stdout
    assert "never memory: 0x8090000 to 0x809ffff" in shown.stdout
    assert "verdict: IMS usable: 16 slots, 4 donors, remapping on" in shown.stdout


def test_type1_is_refused_with_its_reason(lab: Lab) -> None:
    """virtio-iommu has no cookie for type1's messages: the kernel says ENOSPC."""
    done = lab.run(["vfio-ims", "selftest", lab["minimal"], "--iommu", "type1"])
    print(done)
    assert done.status != 0
    assert "No space left" in done.stdout + done.stderr


def test_what_is_compiled_passes_its_tests_on_this_kernel(lab: Lab) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "--color=no", "-k", "not direct_store"]
    files = [f"tests/native/test_{name}.py" for name in NATIVE]
    done = lab.guest.run([sys.executable, "-m", "pytest", *options, *files], timeout=250)
    assert done.returncode == 0, done
    assert "skipped" not in done.stdout, done
    print(done.stdout)


def test_no_smmu_for_a_model(tmp_path: Path) -> None:
    """Why the IOMMU is virtio's: once QEMU can do this, the machine gets an SMMUv3."""
    pieces = need_arm64()
    with contextlib.closing(ServedModel("minimal", tmp_path)) as server:
        options, _ = VIRT.place([server.path])
        machine = [
            "-nodefaults",
            "-display",
            "none",
            "-S",
            "-machine",
            "virt,gic-version=3,iommu=smmuv3,memory-backend=ram",
        ]
        memory = ["-m", "128M", "-object", "memory-backend-memfd,share=on,id=ram,size=128M"]
        done = subprocess.run(
            [str(pieces.machine), *machine, *memory, *options], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 1
    assert "requires iommu MAP notifier which is not currently supported" in done.stderr


def test_msix_arrives_where_ims_does_not() -> None:
    """The other boot, and the evidence that it takes two."""
    need_arm64()
    with bench(VIRT_MSIX, minimal="minimal") as lab:
        done = lab.run(["vfio-ims", "selftest", lab["minimal"], "--timeout", "2", "--json"], timeout=100)
        outcomes = {rung["name"]: rung["outcome"] for rung in done.json["ladder"]}
        assert outcomes["own MSI-X"] == "passed", done
        assert outcomes["DMA word"] == "passed", done
        assert outcomes["donor's message"] == "failed", done
