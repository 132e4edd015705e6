# SPDX-License-Identifier: Apache-2.0
"""The behavioural suite, which passes on models, on a real kernel's VFIO: the same tests, by both interfaces.

On the smallest device all of it; on DSA, and with VFIO_IMS_FULL=1 on the DLB, what a real slot table, sharing of donors
and a reset add.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.vm.pieces import need_vm
from tests.vm.platforms import AMD, AMD_X2APIC, INTEL, Platform
from tests.vm.served import SCENARIOS, Done, Lab, bench

RUNS = {"type1": ("one", "two"), "iommufd": ("three", "four")}
FULL = os.environ.get("VFIO_IMS_FULL") == "1"
LARGER = {"dsa": "intel-dsa,slots=256"}
if FULL:
    LARGER["dlb"] = "intel-dlb"
LARGER_RUNS = {f"{name}-{interface}": (name, interface) for name in LARGER for interface in RUNS}
LARGER_MODULES = ("test_ims_slots.py", "test_ims_sharing.py", "test_reset.py")
AMD_MODULES = ("test_ims_slots.py", "test_ims_sharing.py", "test_donors.py", "test_msix.py", "test_reset.py")
SECONDS = 900.0
HUGEPAGES = "hugepages=8"  # one pool for both runs: neither may have to ask for pages, and give back the other's
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_COLOR": "1"}  # plug-ins are slow to import under emulation


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need_vm()
    larger = {run: LARGER[name] for run, (name, _) in LARGER_RUNS.items()}
    with bench(
        INTEL, one="minimal", two="minimal", three="minimal", four="minimal", kernel_options=[HUGEPAGES], **larger
    ) as booted:
        yield booted


@pytest.fixture(scope="module")
def ran(lab: Lab) -> dict[str, tuple[Done, Path]]:
    """All runs at once, each on functions of its own: a function reset is 0.1 s of sleep, and each test has two."""
    commands, files = [], {}
    for interface, (first, second) in RUNS.items():
        files[interface] = lab.guest.rwdir / f"behaviour-{interface}.xml"
        names = [f"{lab[name]},iommu={interface}" for name in (first, second)]
        commands.append([str(SCENARIOS / "suite.py"), *names, str(files[interface])])
    for run, (name, interface) in LARGER_RUNS.items():
        files[run] = lab.guest.rwdir / f"behaviour-{name}-{interface}.xml"
        names = [f"{lab[run]},iommu={interface}"] * 2  # none of these tests wants a second device
        commands.append([str(SCENARIOS / "suite.py"), *names, str(files[run]), *LARGER_MODULES])
    results = lab.run_all(commands, jobs=len(commands), timeout=SECONDS, env=ALONE)
    return {run: (done, file) for (run, file), done in zip(files.items(), results, strict=True)}


@pytest.mark.parametrize("interface", RUNS)
def test_the_suite_passes(ran: dict[str, tuple[Done, Path]], interface: str) -> None:
    assert _outcomes(interface, *ran[interface])["passed"] > 100


@pytest.mark.parametrize("run", LARGER_RUNS)
def test_the_suite_passes_on_larger_devices(ran: dict[str, tuple[Done, Path]], run: str) -> None:
    assert _outcomes(run, *ran[run])["passed"] > 40


@pytest.mark.timeout(2 * SECONDS + 300)
@pytest.mark.skipif(not FULL, reason="guests of their own: VFIO_IMS_FULL=1 (.ci/nightly)")
@pytest.mark.parametrize("platform", [AMD, AMD_X2APIC], ids=lambda one: one.name)
def test_its_core_passes_on_amd(platform: Platform) -> None:
    """One after the other: a guest of AMD has one function whose slots fire (platforms.py)."""
    need_vm()
    with bench(platform, one="minimal", kernel_options=[HUGEPAGES]) as lab:
        for interface in RUNS:
            file = lab.guest.rwdir / f"behaviour-{interface}.xml"
            names = [f"{lab['one']},iommu={interface}"] * 2
            command = [str(SCENARIOS / "suite.py"), *names, str(file), *AMD_MODULES]
            done = lab.run(command, timeout=SECONDS, env=ALONE)
            assert _outcomes(f"{platform.name}, {interface}", done, file)["passed"] > 60


def _outcomes(interface: str, done: Done, junit: Path) -> Counter[str]:
    """How many tests ended how; none may have failed."""
    assert junit.exists(), str(done)
    outcomes: Counter[str] = Counter()
    for case in ElementTree.parse(junit).iter("testcase"):
        outcome = next((part.tag for part in case if part.tag in ("failure", "error", "skipped")), "passed")
        outcomes[outcome] += 1
        if outcome == "skipped":
            print(f"{interface}: skipped {case.get('name')}: {case.find('skipped').get('message')}")
    print(f"{interface}: {dict(outcomes)} in {done.seconds:.0f} s")
    done.check()
    assert outcomes["skipped"] <= 1, "without a function reset: test_matrix_robust.py"
    return outcomes
