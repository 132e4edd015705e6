# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims new``: a family that runs at once, from a folder anywhere; and every name that cannot be one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from vfio_ims import families
from vfio_ims.cli.main import cli
from vfio_ims.errors import SetupError, UsageError
from vfio_ims.families import load_folder
from vfio_ims.new_family.folder import make_family


def call(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder made by the command."""
    where = tmp_path_factory.mktemp("authors")
    done = CliRunner().invoke(cli, ["new", "acme-ring", "--in", str(where)], standalone_mode=False)
    assert done.exception is None
    assert "vfio-ims --driver" in done.output
    return where / "acme_ring"


def test_its_tests_and_conformance_pass_from_a_folder_anywhere(made: Path) -> None:
    done = call("pytest", "-q", "-p", "no:cacheprovider", str(made), cwd=made.parent)
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 25
    served = ["--pyargs", "vfio_ims.testing.conformance", f"--vfio-driver={made}", "--vfio-device=mock:acme-ring"]
    done = call("pytest", "-q", "-p", "no:cacheprovider", *served, cwd=made.parent)
    assert done.returncode == 0, done.stdout


def test_the_self_test_runs_on_it(made: Path) -> None:
    done = call("vfio_ims.cli.main", "--driver", str(made), "selftest", "mock:acme-ring", cwd=made.parent)
    assert done.returncode == 0, done.stderr
    assert "PASSED" in done.stdout


def test_its_ids_agree_and_nothing_of_the_example_is_left(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families.private, "_private", [])
    family = load_folder(made)
    assert family.name == "acme-ring"
    assert family.load_driver().__name__ == "AcmeRing"
    model = family.load_model("acme-ring")
    assert list(family.ids) == [model.id]
    assert model.__name__ == "AcmeRingModel"
    for file in made.rglob("*.py"):
        assert not re.search(r"minimal|1a55|example", file.read_text(), re.IGNORECASE), file


def test_its_code_is_clean(made: Path) -> None:
    done = call("ruff", "check", "--isolated", "--line-length=120", "--select=E,F,W,UP,B", str(made), cwd=made.parent)
    if "No module named ruff" in done.stderr:
        pytest.skip("ruff is not installed")
    assert done.returncode == 0, done.stdout
    done = call("ruff", "format", "--isolated", "--line-length=120", "--check", str(made), cwd=made.parent)
    assert done.returncode == 0, done.stdout


def test_an_id_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families.private, "_private", [])
    family = load_folder(make_family("other", "1d0f:efa0", tmp_path))
    assert family.matches(0x1D0F, 0xEFA0)
    assert family.load_model("other").id == "1d0f:efa0"


@pytest.mark.parametrize(
    ("name", "device_id", "why"),
    [
        ("Acme", None, "small letters and digits"),
        ("2fast", None, "small letters and digits"),
        ("../up", None, "small letters and digits"),
        ("", None, "small letters and digits"),
        ("minimal", None, "there is a family or a model of that name"),
        ("intel-dsa", None, "there is a family or a model of that name"),
        ("other", "1234", "as lspci -n prints it"),
        ("other", "8086:0B25", "in small letters"),
        ("other", "8086:0b25", "family intel_idxd has the id"),
    ],
)
def test_a_name_or_an_id_that_cannot_be(tmp_path: Path, name: str, device_id: str | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        make_family(name, device_id, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    make_family("twice", None, tmp_path)
    (tmp_path / "twice" / "driver.py").write_text("# mine\n")
    with pytest.raises(UsageError, match="exists already"):
        make_family("twice", None, tmp_path)
    assert (tmp_path / "twice" / "driver.py").read_text() == "# mine\n"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="Not a directory"):
        make_family("other", None, tmp_path / "file")
