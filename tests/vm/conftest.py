# SPDX-License-Identifier: Apache-2.0
"""Tests in a guest may take long: an emulated processor is slow, and slower on a busy machine. Some share a guest."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL
from tests.vm.served import Lab, bench

MODELS = {
    "minimal": "minimal",
    "dsa": "intel-dsa",
    "mapped": "intel-dsa,map_slots=yes",  # its slot table is memory that the guest maps
    "iaa": "intel-iaa,slots=512",
    "noflr": "minimal,flr=no",
    "bystander": "minimal",
    "heir": "minimal",
    "removable-minimal": "minimal",
    "removable-dsa": "intel-dsa",
} | ({"dlb": "intel-dlb"} if os.environ.get("VFIO_IMS_FULL") == "1" else {})
"""What the shared guest's functions are. A test leaves them bound, idle and as they were; not so the removable ones."""

_SECONDS = 1500


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A limit of their own for the tests of this folder that name none."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_SECONDS))


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[Lab]:
    """One guest for several modules: a boot and the imports of its warm interpreter cost more than most tests."""
    need_vm()
    with bench(INTEL, lifetime=4 * 3600, **MODELS) as booted:
        yield booted
