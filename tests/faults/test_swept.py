# SPDX-License-Identifier: Apache-2.0
"""A sample of the sweep over the examples and the behavioural suite's core: none leaks, hangs or is unclear.

The whole is ``.ci/nightly faults``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ["tests/examples/test_in_process.py", "tests/behaviour/test_ims_slots.py", "tests/behaviour/test_reset.py"]
TESTS = "mock and not map and (ims_interrupt or (minimal and (together_or_not or interrupts_survive)))"


@pytest.mark.parametrize(("fault", "most"), [("fail:any", 6), ("lost", 2)])
def test_none_leaks_hangs_or_lies(fault: str, most: int) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FILES, "-k", TESTS]
    command += ["--vfio-faults", f"sweep={fault}", "--vfio-faults-most", str(most)]
    environment = {key: value for key, value in os.environ.items() if key != "VFIO_IMS_DEVICE"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout
    total = re.search(r"in all (\d+) points: (?:(\d+) survived, )?(\d+) with a clear error", done.stdout)
    assert total, done.stdout
    assert int(total[1]) >= 3 * most
