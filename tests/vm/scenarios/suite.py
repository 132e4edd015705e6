# SPDX-License-Identifier: Apache-2.0
"""The behavioural suite on a device of the guest: suite.py DEVICE JUNIT [PYTEST-OPTION...]"""

import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPO))
device, junit, *options = sys.argv[1:]
sys.exit(
    pytest.main(
        [
            *("-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", "vfio_ims.testing.plugin"),
            *(f"--rootdir={REPO}", "-c", str(REPO / "pyproject.toml"), "-q", "--tb=short"),
            *(f"--junitxml={junit}", f"--vfio-device={device}", "-k", device.partition(",")[0], *options, str(REPO / "tests" / "behaviour")),
        ]
    )
)
