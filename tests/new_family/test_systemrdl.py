# SPDX-License-Identifier: Apache-2.0
"""Registers from SystemRDL: fields, resets and access kinds as the description has them, hand edits kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.new_family.making import loaded, new
from vfio_ims.errors import SetupError, UsageError
from vfio_ims.new_family.marked import put_blocks
from vfio_ims.new_family.systemrdl import blocks_from_rdl

RDL = Path(__file__).parent / "acme.rdl"


@pytest.fixture
def described() -> None:
    pytest.importorskip("systemrdl", reason="systemrdl-compiler is not installed (the extra systemrdl)")


@pytest.mark.usefixtures("described")
def test_what_the_description_says_is_in_the_blocks(tmp_path: Path) -> None:
    new(tmp_path, "--rdl", str(RDL))
    names = loaded(tmp_path / "acme_card" / "registers.py")
    acme = names["Acme"].registers
    assert (acme["ID"].offset, acme["ID"].access, acme["ID"].reset) == (0, "ro", 0xACE0_0001)
    assert acme["FIRE"].access == "wo"
    errors = acme["ERRORS"]
    assert errors.reset == 0x54
    kinds = {name: (field.high, field.low, field.access) for name, field in errors.fields.items()}
    assert kinds == {
        "overflow": (0, 0, "rw1c"),
        "state": (3, 2, "ro" if errors.access != "ro" else None),
        "mode": (7, 4, "rw"),
    }
    assert errors.access == "ro"
    assert errors.mask("ro") == 0xFFFF_FF0E  # what no field has is reserved
    queues = names["Acme"].repeats["QUEUE"]
    assert (queues.offset, queues.count, queues.stride) == (0x100, 4, 0x40)
    assert queues.block.registers["BASE"].width == 64
    assert names["Acme"].repeats["SCRATCH"].block.registers["SCRATCH"].reset == 7
    assert (acme["LINK_CTL"].offset, list(acme["LINK_CTL"].fields)) == (0x400, ["offset_"])
    assert names["Acme"].__doc__ == "Data sheet 'R2', chapter 4"


@pytest.mark.usefixtures("described")
def test_made_again_it_follows_the_description_and_keeps_hand_edits(tmp_path: Path) -> None:
    new(tmp_path, "--rdl", str(RDL))
    folder = tmp_path / "acme_card"
    file = folder / "registers.py"
    file.write_text("# mine, above\n" + file.read_text() + "\n\nMINE = Acme\n")
    (folder / "driver.py").write_text((folder / "driver.py").read_text() + "# mine as well\n")
    changed = tmp_path / "changed.rdl"
    changed.write_text(RDL.read_text().replace("ERRORS @ 0x14", "FAULTS @ 0x18"))
    assert "nothing else was changed" in new(tmp_path, "--rdl", str(changed))
    names = loaded(file)
    assert "ERRORS" not in names["Acme"].registers
    assert names["MINE"].registers["FAULTS"].offset == 0x18
    assert file.read_text().startswith("# mine, above\n")
    assert (folder / "driver.py").read_text().endswith("# mine as well\n")
    before = file.read_text()
    new(tmp_path, "--rdl", str(changed))
    assert file.read_text() == before


@pytest.mark.usefixtures("described")
def test_the_family_runs_as_any_other(tmp_path: Path) -> None:
    new(tmp_path, "--rdl", str(RDL))
    command = [sys.executable, "-m", "vfio_ims.cli.main", "--driver", "acme_card", "selftest", "mock:acme-card"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "PASSED" in done.stdout, done.stderr


@pytest.mark.usefixtures("described")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("addrmap x { reg { field {} a; } A[2][2]; };", "A is an array of 2 dimensions"),
        ("addrmap x { reg { regwidth = 512; field {} a[511:0]; } A; };", "A is 512 bits wide"),
        ("addrmap x {", "the lines are above"),
    ],
)
def test_what_cannot_be_a_block_is_said(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "x.rdl"
    file.write_text(text)
    with pytest.raises(UsageError, match=why):
        blocks_from_rdl(file)


@pytest.mark.usefixtures("described")
def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        blocks_from_rdl(tmp_path / "none.rdl")


def test_without_the_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "systemrdl.compiler", None)
    with pytest.raises(SetupError, match="systemrdl-compiler is not installed") as caught:
        blocks_from_rdl(RDL)
    assert "vfio-ims[systemrdl]" in caught.value.hint


def test_blocks_are_put_at_the_end_once(tmp_path: Path) -> None:
    file = tmp_path / "registers.py"
    file.write_text("from vfio_ims.registers import SlotLayout\n")
    for text in ("A = Repeat(X)", "A = Register(4)"):
        put_blocks(file, text)
    assert file.read_text().count("# --- from SystemRDL") == 1
    assert "A = Register(4)" in file.read_text()
    assert "import Register, Repeat, SlotLayout" in file.read_text()
