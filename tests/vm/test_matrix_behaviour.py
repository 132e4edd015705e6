# SPDX-License-Identifier: Apache-2.0
"""The behavioural suite, which passes on models, on a real kernel's VFIO: the same tests, by both interfaces."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL
from tests.vm.served import SCENARIOS, Done, Lab, bench

RUNS = {"type1": ("one", "two"), "iommufd": ("three", "four")}
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_COLOR": "1"}  # plug-ins are slow to import under emulation


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need_vm()
    with bench(INTEL, one="minimal", two="minimal", three="minimal", four="minimal") as booted:
        yield booted


@pytest.fixture(scope="module")
def ran(lab: Lab) -> dict[str, tuple[Done, Path]]:
    """Both interfaces at once: each has functions of its own."""
    files = {interface: lab.guest.rwdir / f"behaviour-{interface}.xml" for interface in RUNS}
    commands = [
        [str(SCENARIOS / "suite.py"), *(f"{lab[name]},iommu={interface}" for name in names), str(files[interface])]
        for interface, names in RUNS.items()
    ]
    results = lab.run_all(commands, timeout=float(os.environ.get("T", "900")), env=ALONE)
    return {interface: (done, files[interface]) for interface, done in zip(RUNS, results, strict=True)}


@pytest.mark.parametrize("interface", RUNS)
def test_the_suite_passes(ran: dict[str, tuple[Done, Path]], interface: str) -> None:
    done, junit = ran[interface]
    assert junit.exists(), str(done)
    outcomes: Counter[str] = Counter()
    for case in ElementTree.parse(junit).iter("testcase"):
        outcome = next((part.tag for part in case if part.tag in ("failure", "error", "skipped")), "passed")
        outcomes[outcome] += 1
        if outcome == "skipped":
            print(f"{interface}: skipped {case.get('name')}: {case.find('skipped').get('message')}")
    print(f"{interface}: {dict(outcomes)} in {done.seconds:.0f} s")
    done.check()
    assert outcomes["passed"] > 100
    assert outcomes["skipped"] <= 1, "without a function reset: test_matrix_robust.py"
