# SPDX-License-Identifier: Apache-2.0
"""Mistakes in a driver folder: each is one message that says where it is and what was perhaps meant, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vfio_ims
from vfio_ims import families
from vfio_ims.driver import Driver
from vfio_ims.errors import SetupError, UsageError
from vfio_ims.families import load_folder
from vfio_ims.new_family.folder import make_family

MISTAKES = {
    "a wrong class": (
        ("__init__.py", '"driver:Mine"', '"driver:Mien"'),
        ["driver.py has no class Mien; did you mean Mine?", "next: family = Family(...)"],
    ),
    "a wrong module": (
        ("__init__.py", '"driver:Mine"', '"drivr:Mine"'),
        ["there is no drivr.py; did you mean driver?"],
    ),
    "an import typo": (
        ("driver.py", "import SLOTS, Bar0", "import SLOT, Bar0"),
        ["driver.py line 10: ImportError: cannot import name 'SLOT'", "next: correct that line"],
    ),
    "an import of what is not installed": (
        ("driver.py", "from functools import", "import nosuchthing\nfrom functools import"),
        ["driver.py line 4: ModuleNotFoundError: No module named 'nosuchthing'"],
    ),
    "a missing method": (
        ("driver.py", "def fire(", "def fier("),
        ["Mine lacks fire (is fier meant to be it?), which every driver has", "docs/contract.md"],
    ),
    "reserved vectors that are a number": (
        ("driver.py", "reserved_vectors = ()", "reserved_vectors = (3)"),
        ["Mine.reserved_vectors must be a tuple of vectors' numbers, such as (7,), not 3", "docs/contract.md"],
    ),
    "a hook without a value": (
        ("model.py", "def fire_vector(self, vector: int)", "def fire_vector(self)"),
        ["make the model MineModel: fire_vector() -> None, line 24, follows a register that stands alone", "(value)"],
    ),
    "registers where the table is": (
        ("registers.py", "offset=0x1000", "offset=0x0"),
        ["the slot table at 0x0 of BAR 0 and its register ID at 0x0 overlap"],
    ),
    "data outside the stride": (
        ("registers.py", "count=16)", "count=16, data=18)"),
        ["registers.py line 17", "data=18 lies outside an entry: with stride=16 its last word is at 12 (0xc)"],
    ),
    "a wrong name": (("registers.py", "(Block):", "(Blok):"), ["registers.py line 7: NameError: name 'Blok'"]),
    "wrong syntax": (("model.py", "def fire(self", "def fire((self"), ["model.py line 19: SyntaxError"]),
    "a register that is not there": (
        ("driver.py", "RESET.write", "RESTE.write"),
        ["driver.py line 24, in start: AttributeError: 'Bar0' object has no attribute 'RESTE'", "the driver in "],
    ),
    "no table": (
        ("driver.py", "return SlotArray(self.device, SLOTS)", "return SLOTS"),
        ["Mine.ims_table gave a SlotLayout, which is no ImsTable: it has no read,", "return SlotArray(self.device"],
    ),
    "an error in fire": (
        ("driver.py", "self.regs.FIRE.write(slot)", "self.regs.FIRE.write(solt)"),
        ["fire(slot 0) raised NameError: name 'solt'", "look at driver.py line 35, in fire"],
    ),
    "no report": (
        ("driver.py", "return FireReport(FireStatus.PENDING if status.pended else FireStatus.SENT)", "return None"),
        ["fire(slot 0) must return a FireReport, not None", "docs/contract.md"],
    ),
    "an error in the model": (
        ("model.py", "SLOTS.count", "SLOTS.cuont"),
        ["AttributeError: 'SlotLayout' object has no attribute 'cuont'", "look at model.py line 20, in fire"],
    ),
    "an error in the declaration": (
        ("__init__.py", "import Family", "import Famly"),
        ["__init__.py line 4: ImportError: cannot import name 'Famly'"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_words(tmp_path: Path, mistake: str) -> None:
    (file, old, new), wanted = MISTAKES[mistake]
    path = make_family("mine", None, tmp_path) / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    command = [sys.executable, "-m", "vfio_ims.cli.main", "--driver", "mine", "selftest", "mock:mine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (1, 2, 3), done.stdout
    assert "Traceback" not in done.stderr
    for words in wanted:
        assert words in done.stdout + done.stderr


def test_a_driver_that_lacks_a_method_is_not_started() -> None:
    class Half(Driver):
        def start(self) -> None: ...

    device = vfio_ims.open("mock:minimal")
    with pytest.raises(UsageError, match="Half lacks fire, ims_table, which every driver has"):
        Half.start_on(device)
    assert device.closed


def test_in_python_the_whole_traceback_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families.private, "_private", [])
    folder = make_family("broken", None, tmp_path)
    (folder / "driver.py").write_text("1 / 0\n")
    with pytest.raises(SetupError, match=r"driver\.py line 1: ZeroDivisionError: division by zero") as caught:
        load_folder(folder).load_driver()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
