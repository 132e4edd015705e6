# SPDX-License-Identifier: Apache-2.0
"""Tests in a guest may take long: an emulated processor is slow, and slower on a busy machine."""

from pathlib import Path

import pytest

_SECONDS = 1500


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A limit of their own for the tests of this folder that name none."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_SECONDS))
