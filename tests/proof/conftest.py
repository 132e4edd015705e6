# SPDX-License-Identifier: Apache-2.0
"""The machines that are proven."""

from pathlib import Path

import pytest

from tests.host.box import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)
