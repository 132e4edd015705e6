# SPDX-License-Identifier: Apache-2.0
"""The families of tests/tables, under the names of their models."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfio_ims import families
from vfio_ims.families import load_folder

TABLES = Path(__file__).parents[1] / "tables"


@pytest.fixture(autouse=True)
def own_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders are known in a test only."""
    monkeypatch.setattr(families.private, "_private", [])
    for start in TABLES.glob("*/__init__.py"):
        load_folder(start.parent)
