# SPDX-License-Identifier: Apache-2.0
"""The behavioural suite on a device of the guest: suite.py DEVICE SECOND JUNIT [PYTEST-OPTION...]

The second is for tests that want two; none runs on it alone.
"""

import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPO))
device, second, junit, *options = sys.argv[1:]
plugins = ("no:cacheprovider", "pytest_timeout", "vfio_ims.testing.plugin")
sys.exit(
    pytest.main(
        [
            *(part for plugin in plugins for part in ("-p", plugin)),
            *(f"--rootdir={REPO}", "-c", str(REPO / "pyproject.toml"), "-q", "--tb=short", f"--junitxml={junit}"),
            *(f"--vfio-device={device}", f"--vfio-device={second}", "-k", device.partition(",")[0], *options),
            str(REPO / "tests" / "behaviour"),
        ]
    )
)
