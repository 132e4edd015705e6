# SPDX-License-Identifier: Apache-2.0
"""The command line as its users meet it: a process of its own, its two outputs and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def vfio_ims(*arguments: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-m", "vfio_ims.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"COLUMNS": "80"} | environment,
    )


def test_help_names_every_verb_and_loads_neither_native_code_nor_udev_nor_rich() -> None:
    program = (
        "import sys; from vfio_ims.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'vfio_ims.native.lib', 'pyudev', 'rich', 'cffi', 'asyncio'} & set(sys.modules)\n"
        "print('loaded:', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "loaded: []" in done.stdout
    for verb in ("list", "show", "selftest", "serve", "demo"):
        assert f"  {verb} " in done.stdout


@pytest.mark.parametrize("verb", ["list", "show", "selftest", "serve", "demo"])
def test_each_verb_explains_itself(verb: str) -> None:
    done = vfio_ims(verb, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 5


def test_demo_receives_its_interrupts() -> None:
    done = vfio_ims("demo", "mock:minimal")
    assert done.returncode == 0, done.stderr
    assert "interrupt  received on vector 1" in done.stdout
    assert "unmasked  interrupt received" in done.stdout
    assert done.stderr == ""  # a ResourceWarning would be here: python -X dev


def test_show_says_what_a_model_is() -> None:
    done = vfio_ims("show", "mock:minimal")
    assert done.returncode == 0, done.stderr
    assert "verdict: IMS usable: 16 slots, 4 donors, remapping on" in done.stdout
    assert "MSI-X: 4 vectors, added one at a time, table in BAR0 at 0x2000" in done.stdout


def test_show_as_json_has_the_schema_and_each_link_of_the_verdict() -> None:
    done = vfio_ims("show", "mock:minimal,dvsec=no-ims", "--json")
    answer = json.loads(done.stdout)
    assert (answer["schema"], answer["schema_version"]) == ("vfio-ims/show", "1.1")
    links = {link["name"]: link["answer"] for link in answer["verdict"]["links"]}
    assert links["IMS bit"] == "no"  # the hint says no, the driver knows better
    assert (links["slot table"], answer["verdict"]["usable"]) == ("yes", True)


def test_show_of_an_unmappable_table_says_which_link_breaks() -> None:
    done = vfio_ims("show", "mock:minimal,mappable=no")
    assert "verdict: IMS unusable: MSI-X table mappable: no" in done.stdout


def test_selftest_passes_and_counts() -> None:
    done = vfio_ims("selftest", "mock:minimal", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert (answer["schema"], answer["verdict"], answer["slots"]) == ("vfio-ims/selftest", "passed", 16)
    assert answer["fired"] == answer["delivered"] > 16
    assert not any(answer[name] for name in ("lost", "duplicated", "misrouted", "unexpected"))


def test_selftest_of_a_broken_device_fails_with_the_reason() -> None:
    done = vfio_ims("selftest", "mock:minimal,defect=ignores-mask")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "mask" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("show", "nonsense"), 2, "'nonsense' is neither a PCI address"),
        (("show", "mock:minimol"), 2, "did you mean 'minimal'"),
        (("show", "mock:minimal,defekt=alias"), 2, "did you mean 'defect'"),
        (("show", "mock:minimal,defect=odd"), 2, "defect must be one of"),
        (("show", "ffff:ff:1f.7"), 3, "no such PCI function"),
        (("selftest", "vfio-user:/nowhere/at/all.sock"), 3, "/nowhere/at/all.sock"),
        (("selftset",), 2, "No such command"),
        (("--driver", "/", "demo"), 3, "it has no __init__.py"),
        (("demo", "mock:minimal", "--iommu"), 2, "No such option"),
    ],
)
def test_a_mistake_gets_one_message_and_its_status(arguments: tuple[str, ...], status: int, text: str) -> None:
    done = vfio_ims(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_list_says_so_when_there_is_nothing() -> None:
    done = vfio_ims("list")
    assert done.returncode in (0, 4)
    assert done.returncode == 0 or "vfio-ims demo" in done.stderr
    everything = json.loads(vfio_ims("list", "--all", "--json").stdout)
    assert isinstance(everything["devices"], list)


def test_serve_is_opened_by_the_client_and_ends_at_sigterm(tmp_path: Path) -> None:
    socket = tmp_path / "dev.sock"
    server = subprocess.Popen(
        [sys.executable, "-m", "vfio_ims.cli.main", "serve", "minimal", "--socket", str(socket)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    assert f"open it as vfio-user:{socket}" in server.stderr.readline()
    try:
        assert vfio_ims("demo", f"vfio-user:{socket}").returncode == 0
        assert vfio_ims("selftest", f"vfio-user:{socket}").returncode == 0  # the next client finds it clean
    finally:
        server.terminate()
        assert server.wait(20) == 0
        server.stderr.close()
    assert not socket.exists()


def test_a_private_driver_folder_is_loaded(tmp_path: Path) -> None:
    import vfio_ims.drivers as ours

    source = Path(next(iter(ours.__path__))) / "minimal"
    folder = tmp_path / "mine"
    folder.mkdir()
    for file in source.glob("*.py"):
        text = file.read_text().replace("1234:1a55", "1234:1a56").replace('"minimal"', '"mine"')
        (folder / file.name).write_text(text)
    for words in (
        ("--driver", str(folder), "demo", "mock:mine"),
        ("demo", "--driver", str(folder), "mock:mine"),
        ("demo", "mock:mine", "--driver", str(folder)),
    ):
        done = vfio_ims(*words)
        assert done.returncode == 0, done.stderr
        assert "1234:1a56, driver Minimal" in done.stdout


@pytest.mark.parametrize(
    ("choice", "environment", "coloured"),
    [("always", {"NO_COLOR": "1"}, True), ("never", {"FORCE_COLOR": "1"}, False), ("auto", {}, False)],
)
def test_colour_is_chosen_whatever_the_environment_says(
    choice: str, environment: dict[str, str], coloured: bool
) -> None:
    done = vfio_ims("--color", choice, "show", "mock:minimal", **environment)
    assert ("\x1b[" in done.stdout) is coloured


def test_a_log_of_one_part_is_of_that_part_only() -> None:
    program = (
        "import logging; from vfio_ims.cli.logs import log_to_stderr\n"
        "log_to_stderr(chosen=['host=debug', 'vfio_ims.ims=info'])\n"
        "for name in ('host.removal', 'ims', 'vfio_user'):\n"
        "    logging.getLogger(f'vfio_ims.{name}').debug('fine'); logging.getLogger(f'vfio_ims.{name}').info('coarse')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines() == [
        "vfio_ims.host.removal: fine",
        "vfio_ims.host.removal: coarse",
        "vfio_ims.ims: coarse",
    ]
    assert vfio_ims("-L", "vfio_user=debug", "demo", "mock:minimal").returncode == 0
    refused = vfio_ims("-L", "ims=loud", "demo", "mock:minimal")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "such as host=debug, not 'ims=loud'" in refused.stderr
