# SPDX-License-Identifier: Apache-2.0
"""Damaged reports and accel-config files: read, or refused with one of the package's errors."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fuzz.budget import Budget
from tests.fuzz.mutate import damaged, damaged_tree
from tests.host.box import Box
from tests.host.conftest import box as box
from tests.intel_idxd.conftest import mounted
from tests.intel_idxd.test_accel_config import PROFILE
from vfio_ims.drivers.intel_idxd.driver.accel_config import load, save
from vfio_ims.errors import VfioImsError
from vfio_ims.host.description import describe
from vfio_ims.host.doctor import diagnose
from vfio_ims.host.report import make_report, opened
from vfio_ims.host.survey import Survey


def test_any_report_is_shown_or_refused(box: Box, tmp_path: Path) -> None:
    box.healthy()
    (function,) = box.machine.functions()
    good = json.loads(json.dumps(make_report(box.machine, function)))
    budget, file = Budget("reports", most=100), tmp_path / "report.json"
    for rng in budget.rounds():
        content = good
        for _ in range(rng.randrange(1, 4)):
            content = damaged_tree(rng, content)
        text = json.dumps(content).encode()
        file.write_bytes(damaged(rng, text) if rng.random() < 0.1 else text)
        try:
            with opened(file) as (machine, there):
                json.dumps([one.to_json() for one in diagnose(machine, there)])
                json.dumps(Survey(machine).candidate(there).to_json())
                describe(there)
            budget.figures["shown"] += 1
        except VfioImsError:
            budget.figures["refused"] += 1


def test_any_accel_config_file_is_loaded_or_refused() -> None:
    budget = Budget("accel-config files", most=500)
    with mounted("mock", "intel-dsa") as dsa:
        good = json.loads(PROFILE)
        for rng in budget.rounds():
            content = good
            for _ in range(rng.randrange(1, 4)):
                content = damaged_tree(rng, content)
            text = json.dumps(content)
            if rng.random() < 0.1:
                text = damaged(rng, text.encode()).decode("latin-1")
            try:
                found = load(text, dsa.capabilities, "dsa0")
                save(found, dsa.capabilities, "dsa0")
                budget.figures["loaded"] += 1
            except VfioImsError:
                budget.figures["refused"] += 1
    assert budget.figures["loaded"]
