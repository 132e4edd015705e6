# SPDX-License-Identifier: Apache-2.0
"""The behavioural suite, which passes on models, on a real kernel's VFIO: the same tests, by both interfaces.

On the smallest device all of it; on DSA, and with VFIO_IMS_FULL=1 on the DLB, what a real slot table, sharing of donors
and a reset add.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.behavioural import ALONE, HUGEPAGES, IDLE, SECONDS, command, outcomes
from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL
from tests.vm.served import Done, Lab, bench

pytestmark = pytest.mark.timeout(SECONDS + 300)

RUNS = {"type1": ("one", "two"), "iommufd": ("three", "four")}
FULL = os.environ.get("VFIO_IMS_FULL") == "1"
LARGER = {"dsa": "intel-dsa,slots=256"}
if FULL:
    LARGER["dlb"] = "intel-dlb"
LARGER_RUNS = {f"{name}-{interface}": (name, interface) for name in LARGER for interface in RUNS}
LARGER_MODULES = ("test_ims_slots.py", "test_ims_sharing.py", "test_reset.py")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need_vm()
    larger = {run: LARGER[name] for run, (name, _) in LARGER_RUNS.items()}
    small = dict.fromkeys(("one", "two", "three", "four"), "minimal")
    with bench(INTEL, kernel_options=[HUGEPAGES], **small, **larger) as booted:
        yield booted


@pytest.fixture(scope="module")
def ran(lab: Lab) -> dict[str, tuple[Done, Path]]:
    """All runs at once, each on functions of its own: a function reset is 0.1 s of sleep, and each test has two."""
    commands, files = [], {}
    for interface, (first, second) in RUNS.items():
        files[interface] = lab.guest.rwdir / f"behaviour-{interface}.xml"
        names = [f"{lab[name]},iommu={interface}" for name in (first, second)]
        commands.append(command(names, files[interface]))
    for run, (name, interface) in LARGER_RUNS.items():
        files[run] = lab.guest.rwdir / f"behaviour-{name}-{interface}.xml"
        names = [f"{lab[run]},iommu={interface}"] * 2  # none of these tests wants a second device
        commands.append(command(names, files[run], LARGER_MODULES))
    results = lab.run_all(commands, jobs=len(commands), timeout=SECONDS, idle=IDLE, env=ALONE)
    return {run: (done, file) for (run, file), done in zip(files.items(), results, strict=True)}


@pytest.mark.parametrize("interface", RUNS)
def test_the_suite_passes(ran: dict[str, tuple[Done, Path]], interface: str) -> None:
    assert outcomes(interface, *ran[interface])["passed"] > 100


@pytest.mark.parametrize("run", LARGER_RUNS)
def test_the_suite_passes_on_larger_devices(ran: dict[str, tuple[Done, Path]], run: str) -> None:
    assert outcomes(run, *ran[run])["passed"] > 40
