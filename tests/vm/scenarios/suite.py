# SPDX-License-Identifier: Apache-2.0
"""The behavioural suite on a device of the guest: suite.py DEVICE SECOND JUNIT [MODULE.py | PYTEST-OPTION]...

The second is for tests that want two; none runs on it alone. Modules: of the suite, instead of all of it.
"""

import os
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPO))
device, second, junit, *more = sys.argv[1:]
# Emulated, a sweep presses Ctrl-C at a quarter of the instructions that it has on the host, and at others in each run.
os.environ.setdefault("VFIO_IMS_SWEEP", "20")
os.environ.setdefault("VFIO_IMS_SWEEP_SEED", f"{os.environ.get('VFIO_IMS_VM_PLATFORM')} {device}")
modules, options = ([one for one in more if one.endswith(".py") is wanted] for wanted in (True, False))
suite = REPO / "tests" / "behaviour"
plugins = ("no:cacheprovider", "pytest_timeout", "vfio_ims.testing.plugin")
sys.exit(
    pytest.main(
        [
            *(part for plugin in plugins for part in ("-p", plugin)),
            *(f"--rootdir={REPO}", "-c", str(REPO / "pyproject.toml"), "-q", "--tb=short", f"--junitxml={junit}"),
            *("-o", "faulthandler_timeout=0"),  # a thread a test; pytest_timeout prints the stacks of one that hangs
            *(f"--vfio-device={device}", f"--vfio-device={second}", "-k", device.partition(",")[0], *options),
            f"--ignore={suite / 'test_core_on_platforms.py'}",  # the same tests, on the mock's other hosts
            *(str(suite / module) for module in modules or [""]),
        ]
    )
)
