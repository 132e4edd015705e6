# SPDX-License-Identifier: Apache-2.0
"""The matrix in docs/platforms.md is what runs: self-tests on the software platform, tests of the VM lab elsewhere.

In the gate a column of each kind of address; all cells with VFIO_IMS_FULL=1 (.ci/nightly).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.platform.matrix import GUESTS, HOSTS, MOUNTS, TABLES, cell, row_name, written
from vfio_ims.platform import KINDS

FULL = os.environ.get("VFIO_IMS_FULL") == "1"
VM = Path(__file__).parents[1] / "vm"
COLUMNS = {model: number for number, model in enumerate(TABLES, start=1)}
RUN = [
    (kind, mount, model)
    for kind in (HOSTS if FULL else KINDS)
    for mount in (MOUNTS if FULL else MOUNTS[:1])
    for model in (TABLES if FULL else ("minimal", "synopsys-edma"))
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "mount", "model"), RUN)
def test_the_cell_says_what_a_self_test_finds(kind: str, mount: str, model: str) -> None:
    row = next(row for row in written() if row[0] == row_name(kind, mount))
    assert cell(mount, model, kind) == row[COLUMNS[model]], "python -m tests.platform.matrix writes the page again"


def test_every_row_is_there_and_every_cell_is_filled() -> None:
    rows = written()
    hosts = [row_name(kind, mount) for kind in HOSTS for mount in MOUNTS]
    assert [row[0] for row in rows] == hosts + [f"{guest.name}, a kernel's vfio-pci" for guest in GUESTS]
    assert all(len(row) == len(TABLES) + 1 and all(row) for row in rows)


def test_what_a_kernels_cell_names_is_a_test() -> None:
    for guest in GUESTS:
        assert guest.reason or set(guest.ran) == set(TABLES)
        for named in guest.ran.values():
            file, _, test = named.partition("::")
            assert f"\ndef {test}(" in (VM / file).read_text()
