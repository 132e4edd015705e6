# SPDX-License-Identifier: Apache-2.0
"""The behavioural suite on a device of the guest: suite.py DEVICE SECOND JUNIT [MODULE.py | PYTEST-OPTION]...

The second is for tests that want two; none runs on it alone. Modules: of the suite, instead of all of it.
"""

import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPO))
device, second, junit, *more = sys.argv[1:]
modules, options = ([one for one in more if one.endswith(".py") is wanted] for wanted in (True, False))
suite = REPO / "tests" / "behaviour"
plugins = ("no:cacheprovider", "pytest_timeout", "vfio_ims.testing.plugin")
sys.exit(
    pytest.main(
        [
            *(part for plugin in plugins for part in ("-p", plugin)),
            *(f"--rootdir={REPO}", "-c", str(REPO / "pyproject.toml"), "-q", "--tb=short", f"--junitxml={junit}"),
            *(f"--vfio-device={device}", f"--vfio-device={second}", "-k", device.partition(",")[0], *options),
            f"--ignore={suite / 'test_core_on_platforms.py'}",  # the same tests, on the mock's other hosts
            *(str(suite / module) for module in modules or [""]),
        ]
    )
)
