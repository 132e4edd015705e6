# SPDX-License-Identifier: Apache-2.0
"""Registers from IP-XACT: each memory map is a block, and made again it follows the description and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.new_family.making import loaded, new
from vfio_ims.errors import SetupError, UsageError
from vfio_ims.new_family.ipxact import blocks_from_ipxact

HERE = Path(__file__).parent
XML = HERE / "acme.xml"


@pytest.fixture
def described() -> None:
    pytest.importorskip("peakrdl_ipxact", reason="peakrdl-ipxact is not installed (the extra ipxact)")


@pytest.mark.usefixtures("described")
def test_each_memory_map_is_a_block(tmp_path: Path) -> None:
    new(tmp_path, "--ipxact", str(XML))
    names = loaded(tmp_path / "acme_card" / "registers.py")
    csr = names["RingCsr"].registers
    assert (csr["ID"].offset, csr["ID"].access, csr["ID"].reset) == (0x100, "ro", 0xACE0_0001)
    errors = csr["ERRORS"]
    assert (errors.offset, errors.reset) == (0x114, 0x54)
    kinds = {name: (field.high, field.low, field.access or errors.access) for name, field in errors.fields.items()}
    assert kinds == {"overflow": (0, 0, "rw1c"), "state": (3, 2, "ro"), "mode": (7, 4, "rw")}
    scratch = names["RingCsr"].repeats["SCRATCH"]
    assert (scratch.offset, scratch.count, scratch.stride) == (0x140, 2, 4)
    fire = names["RingBells"].registers["FIRE"]
    assert (fire.offset, fire.access, fire.fields["slot"].high) == (8, "wo", 5)
    assert {name for name in names if name.startswith("Ring")} == {"RingCsr", "RingCsrScratch", "RingBells"}
    assert names["RingCsr"].__doc__ == "Data sheet R2, chapter 4"


@pytest.mark.usefixtures("described")
def test_made_again_it_follows_the_description_and_keeps_what_else_is_there(tmp_path: Path) -> None:
    new(tmp_path, "--ipxact", str(XML))
    file = tmp_path / "acme_card" / "registers.py"
    file.write_text("# mine, above\n" + file.read_text() + "\n\nMINE = RingCsr\n")
    changed = tmp_path / "changed.xml"
    changed.write_text(XML.read_text().replace(">ERRORS<", ">FAULTS<").replace("0x14<", "0x18<"))
    pytest.importorskip("systemrdl")
    said = new(tmp_path, "--ipxact", str(changed), "--rdl", str(HERE / "acme.rdl"))
    assert "nothing else was changed" in said
    names = loaded(file)
    assert "ERRORS" not in names["RingCsr"].registers
    assert names["MINE"].registers["FAULTS"].offset == 0x118
    assert names["Acme"].registers["ERRORS"].offset == 0x14  # from SystemRDL, in a place of its own
    assert file.read_text().startswith("# mine, above\n")
    before = file.read_text()
    new(tmp_path, "--ipxact", str(changed))
    assert file.read_text() == before


@pytest.mark.usefixtures("described")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<component>", "it is no XML: "),
        ("<component xmlns='http://example.org/x'/>", "the lines are above"),
        (
            XML.read_text()
            .replace("<ipxact:register>", "<ipxact:gone>")
            .replace("</ipxact:register>", "</ipxact:gone>"),
            "",
        ),
    ],
)
def test_what_is_no_description_is_said(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "x.xml"
    file.write_text(text)
    with pytest.raises(UsageError, match=f"read the IP-XACT description .*{why}"):
        blocks_from_ipxact(file)
    with pytest.raises(UsageError, match="there is no such file"):
        blocks_from_ipxact(tmp_path / "none.xml")


def test_without_the_importer_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peakrdl_ipxact", None)
    with pytest.raises(SetupError, match="peakrdl-ipxact is not installed") as caught:
        blocks_from_ipxact(XML)
    assert "vfio-ims[ipxact]" in caught.value.hint
