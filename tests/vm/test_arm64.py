# SPDX-License-Identifier: Apache-2.0
"""arm64 under a real kernel: a GICv3's ITS, a virtio-iommu, models as functions, IMS by iommufd.

On pages of 4 and 64 KiB, and of 16 with VFIO_IMS_FULL=1.

One boot shows IMS, another MSI-X, and none both: an ITS tells senders apart, and to QEMU's a message that a vfio-user
server writes is DeviceID 0 while MSI-X is the function's own (`docs/platforms.md` has both on the mock's ITS).
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.arm64.pieces import KERNELS, need_arm64
from tests.vm.platforms import VIRT, VIRT_16K, VIRT_64K, VIRT_MSIX, Platform
from tests.vm.served import SCENARIOS, Lab, bench
from vfio_ims.testing.server import ServedModel

FULL = os.environ.get("VFIO_IMS_FULL") == "1"
PLATFORMS = [VIRT, VIRT_64K, *([VIRT_16K] if FULL else [])]
MODELS = {"minimal": "minimal", "dsa": "intel-dsa", "edma": "synopsys-edma"}
"""BARs of 16 KiB begin pages where those are larger than 4 KiB; ``small``, beside these, has such a BAR too, left where
the kernel puts it."""
SLOTS = {"minimal": 16, "dsa": 16, "edma": 4}
"""How many slots of each the self-test fires: of a DSA's 2048, so many that every donor serves two."""
TRANSLATER = 0x8090040  # GITS_TRANSLATER of QEMU's `virt` (measured)
NATIVE = {4: ("test_single_access.py", "test_ioctl.py", "test_fork.py")}
"""The rest runs on 4 KiB in a process (tests/arm64), which is quicker."""
NATIVE[16] = NATIVE[64] = ("test_single_access.py", "window", "test_memory.py", "test_fault.py")
if FULL:
    NATIVE[16] = NATIVE[64] = (*NATIVE[64], "test_ioctl.py", "test_fork.py", "test_rows.py")
NO_COMPILER = "--deselect=tests/behaviour/test_ctrl_c"  # interrupts at each instruction; the guest's root has no gcc
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_COLOR": "1"}  # plug-ins are slow to import under emulation
NIGHTLY = pytest.mark.skipif(not FULL, reason="minutes each: VFIO_IMS_FULL=1 (.ci/nightly arm64)")
LEFT_OUT = "direct_store or faulthandler or kills or handlers_that or python_handler"
"""Each of these starts compilers or Pythons of its own."""


def _need(platform: Platform) -> None:
    need_arm64("machine", "root", "wheel", KERNELS[platform.page])


def _on(*platforms: Platform) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("platform", platforms, indirect=True, ids=lambda one: one.name)


@pytest.fixture(scope="module", params=PLATFORMS, ids=lambda one: one.name)
def platform(request: pytest.FixtureRequest) -> Platform:
    found: Platform = request.param
    return found


@pytest.fixture(scope="module")
def lab(platform: Platform) -> Iterator[Lab]:
    _need(platform)
    models = MODELS | ({"small": "minimal"} if platform is VIRT_64K else {}) | ({"second": "minimal"} if FULL else {})
    # Functions have their places in this order, from 00:10.0 on.
    whole = [f"0000:00:{0x10 + at:x}.0" for at, name in enumerate(models) if name in ("minimal", "edma", "second")]
    options = [f"pci=resource_alignment={';'.join(whole)}"] if platform.page > 4 else []
    with bench(platform, lifetime=3 * 3600, kernel_options=options, **models) as booted:
        assert [booted[name] for name in ("minimal", "edma")] == whole[:2]
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


def test_the_kernel_has_such_pages(lab: Lab, platform: Platform) -> None:
    done = lab.guest.run([sys.executable, "-c", "import mmap; print(mmap.PAGESIZE)"])
    assert int(done.stdout) == platform.page << 10


@_on(VIRT_64K)
def test_a_small_bar_that_begins_no_page_is_named_with_a_remedy_that_works(lab: Lab) -> None:
    """Of a BAR that is less than a page VFIO maps nothing, so there are no messages to copy."""
    shown = lab.run(["vfio-ims", "show", lab["small"], "--live"]).check().stdout
    assert "mappable: no, BAR 0 has 0x4000 bytes, less than a page of this machine (0x10000)" in shown, shown
    assert f"what helps: boot with pci=resource_alignment={lab['small']}" in shown
    done = lab.run(["vfio-ims", "selftest", lab["small"]])
    print(done)
    assert done.status != 0
    assert "resource_alignment" in done.stdout + done.stderr
    found = lab.scenario("realign", lab["small"])
    assert found["before"] % (64 << 10) != 0, "by chance it began a page: the test has to place it elsewhere"
    assert found["after"] % (64 << 10) == 0
    shown = lab.run(["vfio-ims", "show", lab["small"], "--live"]).check().stdout
    assert "verdict: IMS usable: 16 slots, 4 donors, remapping on" in shown, shown


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


@_on(*(PLATFORMS if FULL else [VIRT]))
def test_type1_is_refused_with_its_reason(lab: Lab) -> None:
    """virtio-iommu has no cookie for type1's messages: the kernel says ENOSPC."""
    done = lab.run(["vfio-ims", "selftest", lab["minimal"], "--iommu", "type1"])
    print(done)
    assert done.status != 0
    assert "No space left" in done.stdout + done.stderr


def test_what_is_compiled_passes_its_tests_on_this_kernel(lab: Lab, platform: Platform) -> None:
    options = ["-q", "-p", "no:cacheprovider", "--color=no", "-k", f"not ({LEFT_OUT})"]
    files = [f"tests/native/{name}" for name in NATIVE[platform.page]]
    done = lab.guest.run([sys.executable, "-m", "pytest", *options, *files], timeout=250)
    assert done.returncode == 0, done.stdout[-4000:] or done
    assert "skipped" not in done.stdout, done.stdout[-4000:]
    print(done.stdout)


@NIGHTLY
@pytest.mark.timeout(2000)
def test_the_behavioural_suite_passes(lab: Lab, platform: Platform) -> None:
    file = lab.guest.rwdir / f"behaviour-{platform.name}.xml"
    names = [f"{lab[name]},iommu=iommufd" for name in ("minimal", "second")]
    done = lab.run([str(SCENARIOS / "suite.py"), *names, str(file), NO_COMPILER], timeout=1800, env=ALONE)
    print(done.stdout)
    cases = list(ElementTree.parse(file).iter("testcase"))
    done.check()
    assert len(cases) > 200
    skipped = [str(case.get("name")) for case in cases if case.find("skipped") is not None]
    assert len(skipped) <= 1, skipped  # a function without a reset: test_matrix_robust.py has one


@NIGHTLY
@_on(VIRT_64K)
@pytest.mark.timeout(5000)
def test_every_slot_of_a_dsa_fires(lab: Lab) -> None:
    done = lab.run([str(SCENARIOS / "its.py"), lab["dsa"], "2048"], timeout=4500)
    report = done.check().json
    print(f"{report['delivered']} of {report['fired']} fires, {report['seconds']:.0f} s")
    assert (report["verdict"], report["slots"], report["lost"]) == ("passed", 2048, 0), report["findings"]
    assert report["delivered"] == report["fired"] >= 4 * 2048


def test_no_smmu_for_a_model(tmp_path: Path) -> None:
    """Why the IOMMU is virtio's: once QEMU can do this, the machine gets an SMMUv3."""
    pieces = need_arm64("machine")
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
    _need(VIRT_MSIX)
    with bench(VIRT_MSIX, minimal="minimal") as lab:
        done = lab.run(["vfio-ims", "selftest", lab["minimal"], "--timeout", "2", "--json"], timeout=100)
        outcomes = {rung["name"]: rung["outcome"] for rung in done.json["ladder"]}
        assert outcomes["own MSI-X"] == "passed", done
        assert outcomes["DMA word"] == "passed", done
        assert outcomes["donor's message"] == "failed", done
