# SPDX-License-Identifier: Apache-2.0
"""What a person types by mistake, and what is printed."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import open_terminal
from vfio_ims import families
from vfio_ims.cli.main import main
from vfio_ims.errors import SetupError

Printed = tuple[int, str, str]


@pytest.fixture
def vfio_ims(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Printed]:
    """Status, stdout, stderr."""
    monkeypatch.setattr(families.private, "_private", [])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back after the verb has set its own

    def run(*words: str) -> Printed:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
            warnings.simplefilter("default")
            main(list(words))
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *capsys.readouterr())

    return run


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e9"])
@pytest.mark.parametrize("words", ["monitor mock:minimal -n 1 --interval", "selftest mock:minimal --timeout"])
def test_a_time_out_of_range(vfio_ims: Callable[..., Printed], words: str, value: str) -> None:
    status, out, err = vfio_ims(*words.split(), value)
    assert (status, out) == (2, "")
    assert "it must be a number of seconds above 0, such as 0.5, not " in err


@pytest.mark.parametrize("verb", ["monitor", "selftest"])
@pytest.mark.parametrize("count", ["17", "999"])
def test_more_slots_than_there_are(vfio_ims: Callable[..., Printed], verb: str, count: str) -> None:
    status, out, err = vfio_ims(verb, "mock:minimal", "--slots", count)
    assert (status, out) == (2, "")
    assert "mock:minimal: " in err
    assert f"--slots must be 1 to 16, the size of its table, not {count}" in err


@pytest.mark.parametrize(
    "words", ["monitor mock:minimal --slots 0", "monitor mock:minimal -n 0", "selftest mock:minimal --slots 0"]
)
def test_numbers_below_one(vfio_ims: Callable[..., Printed], words: str) -> None:
    status, _, err = vfio_ims(*words.split())
    assert status == 2
    assert "0 is not in the range x>=1" in err


@pytest.mark.parametrize("verb", ["doctor", "report", "bind", "unbind"])
def test_a_model_where_a_pci_function_belongs(vfio_ims: Callable[..., Printed], verb: str) -> None:
    status, _, err = vfio_ims(verb, "mock:minimal")
    assert status == 2
    assert "mock:minimal is a model in software: it needs nothing of the host" in err
    assert "next: vfio-ims show mock:minimal, vfio-ims selftest mock:minimal" in err


def test_a_model_where_a_servers_socket_belongs(vfio_ims: Callable[..., Printed]) -> None:
    status, _, err = vfio_ims("check-server", "mock:minimal")
    assert status == 2
    assert "it is a model in this process, and only a server's socket can be checked" in err
    assert "next: vfio-ims serve minimal --socket PATH, and elsewhere vfio-ims check-server PATH" in err


def test_a_report_that_is_not_there(vfio_ims: Callable[..., Printed], tmp_path: Path) -> None:
    status, _, err = vfio_ims("report", f"{tmp_path}/run.json")
    assert status == 2
    assert f"report on {tmp_path}/run.json: there is no such file, and it is no device's name" in err


@pytest.mark.parametrize("words", ["doctor", "report", "bind", "unbind", "show", "monitor", "list"])
def test_a_name_of_nothing(vfio_ims: Callable[..., Printed], words: str) -> None:
    status, _, err = vfio_ims(words, "nonsense")
    assert status == 2
    assert "'nonsense' is neither a PCI address (0000:6a:01.0), nor a kernel device here (as dsa0, eth1)" in err
    assert ("mock:MODEL" in err) == (words in ("show", "monitor"))  # those open models, too
    assert "next: vfio-ims list --all" in err


@pytest.mark.parametrize("verb", ["doctor", "report", "bind", "show", "monitor", "read"])
def test_an_address_of_nothing(vfio_ims: Callable[..., Printed], verb: str) -> None:
    status, _, err = vfio_ims(verb, "ffff:ff:1f.7")
    assert status == 3
    assert "there is no such PCI function on this machine" in err


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mock:minimal,", "after each comma an option must follow, as in mock:minimal,option=value"),
        ("mock:minimal,,flr=no", "after each comma an option must follow"),
        ("mock:", "a model: amd-hdma, intel-dlb, intel-dlb2, intel-dsa, intel-iaa, minimal, synopsys-edma"),
    ],
)
def test_half_a_name(vfio_ims: Callable[..., Printed], name: str, why: str) -> None:
    status, _, err = vfio_ims("show", name)
    assert status == 2
    assert why in err


@pytest.mark.parametrize(("word", "meant"), [("selftset", "selftest"), ("doktor", "doctor"), ("lst", "list")])
def test_a_verb_that_is_none(vfio_ims: Callable[..., Printed], word: str, meant: str) -> None:
    status, _, err = vfio_ims(word)
    assert status == 2
    assert f"No such command {word!r}. Did you mean {meant!r}?" in err


def test_a_verb_that_is_nothing_like_any(vfio_ims: Callable[..., Printed]) -> None:
    assert "There are list, show, doctor," in vfio_ims("qqqq")[2]


def copy_of_minimal(folder: Path) -> Path:
    import vfio_ims.drivers as ours

    folder.mkdir(parents=True)
    for file in (Path(next(iter(ours.__path__))) / "minimal").glob("*.py"):
        (folder / file.name).write_text(file.read_text())
    return folder


def test_the_folder_above_the_driver(vfio_ims: Callable[..., Printed], tmp_path: Path) -> None:
    copy_of_minimal(tmp_path / "theirs" / "frob")
    status, _, err = vfio_ims("--driver", str(tmp_path / "theirs"), "demo")
    assert status == 3
    assert f"next: name one of the folders in it: {tmp_path}/theirs/frob" in err
    (tmp_path / "theirs" / "__init__.py").write_text("")
    status, _, err = vfio_ims("--driver", str(tmp_path / "theirs"), "demo")
    assert status == 3
    assert "it declares no family" in err
    assert f"next: name one of the folders in it: {tmp_path}/theirs/frob" in err


def test_a_driver_that_cannot_be_imported(vfio_ims: Callable[..., Printed], tmp_path: Path) -> None:
    folder = copy_of_minimal(tmp_path / "broken")
    (folder / "__init__.py").write_text("import nothing_of_this_name\n")
    status, _, err = vfio_ims("--driver", str(folder), "demo")
    assert status == 3
    assert "__init__.py line 1: ModuleNotFoundError: No module named 'nothing_of_this_name'" in err


def test_a_copied_driver_that_still_has_its_old_name_and_id(vfio_ims: Callable[..., Printed], tmp_path: Path) -> None:
    import vfio_ims.drivers as ours

    folder = copy_of_minimal(tmp_path / "copied")
    status, out, err = vfio_ims("--driver", str(folder), "demo", "mock:minimal")
    assert status == 0
    original = (Path(next(iter(ours.__path__))) / "minimal").resolve()
    assert err == (
        f"vfio-ims: warning: {folder} and {original} both declare family 'minimal', id 1234:1a55, model 'minimal':"
        " the first is used\n"
    )
    assert "interrupt received" in out


def test_two_private_folders_of_one_name(vfio_ims: Callable[..., Printed], tmp_path: Path) -> None:
    words = []
    for number, place in enumerate(("a", "b")):
        folder = copy_of_minimal(tmp_path / place / "mine")
        start = folder / "__init__.py"
        text = start.read_text().replace("1234:1a55", f"1234:1a6{number}").replace('"minimal"', f'"mine-{place}"')
        start.write_text(text)
        words += ["--driver", str(folder)]
    status, out, err = vfio_ims(*words, "demo", "mock:mine-b")
    assert (status, err) == (0, "")
    assert "mock:mine-b" in out
    with pytest.raises(SetupError, match="no family"):
        families.family_for(0x1234, 0x1A62)
    assert families.family_for(0x1234, 0x1A61).name == "mine-b"


COLOURFUL = (["show", "mock:minimal"], ["demo", "mock:minimal"], ["monitor", "mock:minimal", "-n", "1"])


@pytest.fixture
def on_a_terminal() -> list[str]:
    """What to put before a command that it finds a terminal at its output."""
    for end in open_terminal():
        os.close(end)
    return [sys.executable, "-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"]


def test_no_colour_means_no_escape_codes_on_a_terminal(on_a_terminal: list[str]) -> None:
    environment = os.environ | {"NO_COLOR": "1"}
    for words in COLOURFUL:
        command = [*on_a_terminal, sys.executable, "-m", "vfio_ims.cli.main", *words]
        plain = subprocess.run(command, capture_output=True, env=environment, check=True)
        assert b"\x1b" not in plain.stdout, plain.stdout


def test_a_pipe_gets_no_escape_codes() -> None:
    for words in COLOURFUL:
        piped = subprocess.run([sys.executable, "-m", "vfio_ims.cli.main", *words], capture_output=True, check=True)
        assert b"\x1b" not in piped.stdout


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ids": "1234:1a55"}, "its ids must be a list such as"),
        ({"ids": None}, "its ids must be a list such as"),
        ({"ids": [0x12341A55]}, "its ids must be as lspci -n prints them"),
        ({"ids": ["1234:1A55"]}, "in small letters, not '1234:1A55'"),
        ({"name": None}, "its name must be text"),
        ({"driver": "Minimal"}, "a class must be named as 'module:Class'"),
        ({"driver": 5}, "its driver must be 'module:Class'"),
        ({"driver": {"1234:0001": "driver:Minimal"}}, "its driver has no class for 1234:1a55"),
        ({"driver": "driver:Nothing"}, "has no class Nothing"),
        ({"driver": "driver:SLOTS"}, "is no class derived from vfio_ims.driver.Driver"),
        ({"driver": "registers:Bar0"}, "is no class derived from vfio_ims.driver.Driver"),
        ({"driver": "nothing:Minimal"}, "there is no nothing.py"),
        ({"driver": "fails:Minimal"}, "ZeroDivisionError"),
        ({"models": ["minimal"]}, "its models must be a table"),
        ({"models": {"minimal": None}}, "a class must be named as 'module:Class', not None"),
        ({"models": {"minimal": "model:Nothing"}}, "has no class Nothing"),
        ({"models": {"minimal": "driver:Minimal"}}, "is no class derived from vfio_ims.models.DeviceModel"),
    ],
)
def test_a_declaration_that_cannot_be(
    vfio_ims: Callable[..., Printed], tmp_path: Path, change: dict[str, object], why: str
) -> None:
    folder = copy_of_minimal(tmp_path / f"declared_{abs(hash(str(change)))}")
    (folder / "fails.py").write_text("1 / 0\n")
    declared = {"name": "minimal", "ids": ["1234:1a55"], "driver": "driver:Minimal"}
    declared |= {"models": {"minimal": "model:MinimalModel"}} | change
    (folder / "__init__.py").write_text(f"from vfio_ims.families import Family\nfamily = Family(**{declared!r})\n")
    status, _, err = vfio_ims("--driver", str(folder), "demo", "mock:minimal")
    assert status == 3, err
    assert why in err
    assert "next: " in err
