# SPDX-License-Identifier: Apache-2.0
"""Every block of code and output in these pages is run: what a reader types works, and prints what the page says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from tests.docs.blocks import Runner, agree, blocks_of
from vfio_ims import names
from vfio_ims.driver import Driver
from vfio_ims.ims import ImsTable
from vfio_ims.messages import MessageLimits
from vfio_ims.models import DeviceModel
from vfio_ims.new_family.folder import make_family
from vfio_ims.registers import SlotLayout, Store

DOCS = Path(__file__).parents[2] / "docs"
LANGUAGES = {"python", "console", "toml", "sh"}
"""What is in a block of ``sh`` needs a device or changes the machine: it is shown, and not run."""


@pytest.mark.parametrize(
    "name", ["start.md", "tutorial.md", "contract.md", "stores.md", "tracing.md", "faults.md", "reports.md"]
)
def test_every_block_of_the_page_is_run(name: str, tmp_path: Path) -> None:
    blocks = blocks_of((DOCS / name).read_text())
    assert len(blocks) == (DOCS / name).read_text().count("\n```") // 2
    runner = Runner(tmp_path)
    try:
        for block in blocks:
            assert block.language in LANGUAGES
            assert block.title or block.language != "toml"
            if block.language == "sh":
                continue
            for ran in runner.run(block):
                printed = "\n".join(ran.printed)
                assert agree(ran.said, ran.printed), f"{name}: {ran.line} prints\n{printed}"
                assert ran.status in ((0,) if block.language == "python" else (0, 1, 2, 3)), printed
    finally:
        runner.close()
    if name == "tutorial.md":
        written = lines_by_hand(tmp_path / "acme_ring", tmp_path / "fresh")
        assert f"{written} lines written by hand" in (DOCS / name).read_text(), written
        assert written < 120  # what an author's trial may take


def lines_by_hand(folder: Path, fresh: Path) -> int:
    """Lines of code in a family's folder that ``vfio-ims new`` did not write."""
    fresh.mkdir()
    generated = make_family("acme-ring-as-generated", "1234:d403", fresh)
    count = 0
    for file in folder.glob("*.py"):
        before = [line.strip() for line in (generated / file.name).read_text().splitlines()]
        count += sum(1 for line in file.read_text().splitlines() if line.strip() and line.strip() not in before)
    return count


def test_output_that_differs_is_found() -> None:
    assert agree(["1 slot in 3 ms"], ["2 slot in 14.5 ms"])
    assert not agree(["PASSED"], ["FAILED"])
    assert not agree([], ["more"])
    assert agree(["a", "…", "z"], ["a", "b", "c", "z"])
    assert not agree(["a", "…", "z"], ["a", "b"])


def test_the_contract_names_all_there_is() -> None:
    page = (DOCS / "contract.md").read_text()
    options = [*names.options.PLATFORM, *DeviceModel.common_options]
    layout = [field.name for field in fields(SlotLayout)]
    limits = [field.name for field in fields(MessageLimits)]
    table = [name for name in vars(ImsTable) if not name.startswith("_")]
    callbacks = ["start", "ims_table", "fire", "stop", "quiesce", "fired", "fire_vector", "status", "fault", "details"]
    store = [field.name for field in fields(Store) if field.name not in ("title", "sources", "context")]
    for name in [*options, *layout, *limits, *table, *callbacks, *store]:
        assert f"`{name}" in page, f"docs/contract.md does not say what {name} is"
    assert all(callable(getattr(Driver, name)) for name in callbacks)
