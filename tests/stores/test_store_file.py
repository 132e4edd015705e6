# SPDX-License-Identifier: Apache-2.0
"""A store described in a file: what it says is what a class says, and every mistake in it gets words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tables.far_apart.registers import STORE as FAR_APART
from tests.tables.in_memory.registers import STORE as IN_MEMORY
from tests.tables.invented.registers import STORE as INVENTED
from tests.tables.set_clear.registers import STORE as SET_CLEAR
from vfio_ims.errors import SetupError, UsageError
from vfio_ims.registers import Store
from vfio_ims.stores import read_store
from vfio_ims.stores.file import parse_store

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("name", "store"),
    [("invented", INVENTED), ("far_apart", FAR_APART), ("in_memory", IN_MEMORY), ("set_clear", SET_CLEAR)],
)
def test_a_file_says_what_a_class_says(name: str, store: Store) -> None:
    assert read_store(HERE / f"{name}.toml") == store


TABLE = "[[table]]\nbar = 0\noffset = 0x1000\ncount = 16\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = = 1", r"it is no TOML: .* line 1"),
        ("", "it has no table"),
        ("[[table]]\nbar = 0\ncount = 4", r"\[table 1\] offset is missing"),
        (TABLE + "data = 18", r"\[table 1\] data=18 lies outside an entry: with stride=16 its last word is at 12"),
        (TABLE + "strid = 24", r"\[table 1\] .*strid.* did you mean 'stride'"),
        (TABLE + 'stride = "24"', r"\[table 1\] stride: it must be a number such as 64 or 0x40, not '24'"),
        (TABLE + 'data_bits = "a:b"', r'\[table 1\] data_bits: bits are written as "15:0"'),
        (TABLE + "shared_address = 4", r"\[table 1\] shared_address: it must be a list"),
        (TABLE + "[[table]]\nbar = 9\noffset = 0\ncount = 1", r"\[table 2\] bar must be 0 to 5"),
        (TABLE + "[fire]\nbar = 0", r"\[fire\] offset is missing"),
        (TABLE + "[fire]\nbar = 0\noffset = 3", r"\[fire\] offset must be a multiple of 4"),
        (TABLE + "[fier]\nbar = 0", "did you mean 'fire'"),
        (TABLE + "[arm]\nbar = 0\noffset = 8", "disarm is missing"),
        (TABLE + "[context]\nbar = 0\nbase = 8", "a table in memory .* go together"),
        ("reserved_vectors = 0\n" + TABLE, "reserved_vectors: it must be a list"),
        ("table = 3", r"written as \[\[table\]\]"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_store(text, "my.toml")
    assert "my.toml" in str(caught.value)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"none\.toml: No such file"):
        read_store(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(SetupError, match="it is no text"):
        read_store(tmp_path / "binary.toml")
