# SPDX-License-Identifier: Apache-2.0
"""A report stands for the device on any other machine, gives nothing private away, and a hostile one does no harm."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.host.box import DSA, IAA, Box
from tests.pci.dumps import spr_dsa_with
from vfio_ims.cli.main import cli
from vfio_ims.errors import SetupError, UsageError
from vfio_ims.host import describe
from vfio_ims.host.doctor import diagnose
from vfio_ims.host.report import make_report, opened
from vfio_ims.host.survey import Survey
from vfio_ims.names import open_device
from vfio_ims.sysfs import Function


def function(box: Box, address: str = DSA) -> Function:
    found = box.machine.function(address)
    assert found is not None
    return found


@pytest.fixture
def healthy(box: Box) -> Box:
    box.healthy()
    return box


def report(box: Box) -> dict[str, Any]:
    return make_report(box.machine, function(box))


def written(box: Box, content: dict[str, Any]) -> Path:
    return box.file("report.json", json.dumps(content))


def test_looking_at_a_report_is_looking_at_the_device(healthy: Box) -> None:
    healthy.dsa(IAA, group=23)  # and not all is well
    healthy.process(77, "qemu", "/dev/vfio/23")
    here = function(healthy)
    with opened(written(healthy, report(healthy))) as (machine, there):
        assert [one.to_json() for one in diagnose(machine, there)] == [
            one.to_json() for one in diagnose(healthy.machine, here)
        ]
        assert Survey(machine).candidate(there).to_json() == Survey(healthy.machine).candidate(here).to_json()
        shown, original = describe(there), describe(here)
        assert shown is not None
        assert original is not None
        assert shown.to_json() == original.to_json()
        folder = machine.root
    assert not folder.exists()


def test_it_can_be_read_by_itself(healthy: Box) -> None:
    content = report(healthy)
    assert content["schema"] == "vfio-ims/report"
    assert content["versions"]["kernel"] == "6.15.2"
    assert {one["check"] for one in content["doctor"]} >= {"IOMMU group", "memlock"}
    assert "SIOV DVSEC" in {link["name"] for link in content["description"]["verdict"]["links"]}


def test_nothing_private_is_in_it(healthy: Box) -> None:
    serial = "efbeadde78563412"
    healthy.dsa(driver="vfio-pci", config=spr_dsa_with(x170="02000130", x300=f"03000120{serial}"))
    healthy.file("proc/cmdline", "root=UUID=secret intel_iommu=on,sm_on ip=10.1.2.3::box:eth0 crypto.key=hunter2")
    healthy.file("etc/group", "vfio:x:990:alice,bob\nwheel:x:10:alice")
    healthy.file("etc/hostname", "box.example.org")
    healthy.interface(DSA, "eth0")
    healthy.tree.file(f"devices/pci0000:00/{DSA}/net/eth0/address", "52:54:00:12:34:56")
    healthy.file("proc/cpuinfo", "model name : X\nserial : 99\nflags : movdir64b\nmodel name : X\nflags : movdir64b")
    text = json.dumps(report(healthy))
    for secret in ("secret", "10.1.2.3", "hunter2", "alice", "bob", "example.org", "52:54", serial, "serial : 99"):
        assert secret not in text, secret
    assert "intel_iommu=on,sm_on" in text
    assert text.count("model name") == 1


def reported_by(box: Box, monkeypatch: pytest.MonkeyPatch, name: str) -> dict[str, Any]:
    """The report that a user of this name makes, who may not open the device."""
    from vfio_ims.host import machine

    monkeypatch.setattr(machine.Machine, "user", machine.User(1000, frozenset({1000}), 0, name))
    box.node("vfio/23", accessible=False)
    return report(box)


def test_the_users_name_is_left_out_of_the_advice(healthy: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy.process(77, "alice-qemu", "/dev/vfio/23")
    content = reported_by(healthy, monkeypatch, "alice")
    advice = next(one["fix"] for one in content["doctor"] if one["check"] == "group")
    assert advice == "sudo usermod -aG vfio USER, and log in again"
    assert content["holders"] == {"/dev/vfio/23": [{"pid": 77, "name": "USER-qemu"}]}
    assert "alice" not in json.dumps(content)


@pytest.mark.parametrize("name", ["text", "true", "null", "0000", "files", "vfio", "6a", "folder", "node", "mode", "1"])
def test_a_user_of_any_name_makes_a_report_that_loads(healthy: Box, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plain = report(healthy)
    content = reported_by(healthy, monkeypatch, name)
    assert content["device"] == DSA
    assert content["files"] == plain["files"]
    with opened(written(healthy, content)) as (_, there):
        assert there.driver == "vfio-pci"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": "other"}, "no report of vfio-ims"),
        ({"schema_version": "2.0"}, "this version reads 1.0"),
        ({"files": {"../../evil": {"text": "x"}}}, "no path below the root"),
        ({"files": {"/etc/evil": {"text": "x"}}}, "no path below the root"),
        ({"files": {"sys/a": {"link": "../../.."}}}, "leads out"),
        ({"files": {"sys/a": {"link": "/etc"}}}, "leads out"),
        ({"files": {"sys/a": {"link": "b"}, "sys/a/c": {"text": "x"}}}, "'sys/a' is a folder and a link"),
        ({"files": {"sys/a": {"text": "b"}, "sys/a/c": {"text": "x"}}}, "'sys/a' is a folder and a file"),
        ({"files": {"sys//a": {"text": "x"}}}, "no path below the root"),
        ({"files": {"sys/./a": {"text": "x"}}}, "no path below the root"),
        ({"files": {"sys/a/": {"folder": True}}}, "no path below the root"),
        ({"files": {"sys/\x1b]0;x\x07": {"text": "x"}}}, "no path below the root"),
        ({"files": {"sys/a\x00": {"text": "x"}}}, "no path below the root"),
        ({"files": {f"sys/{'a' * 300}": {"text": "x"}}}, "no path below the root"),
        ({"files": {"/".join("a" * 500): {"text": "x"}}}, "500 folders deep"),
        ({"files": {str(number): {"text": ""} for number in range(20_001)}}, "20001 files"),
        ({"files": {f"{number}/{'/'.join('a' * 20)}/x": {"text": ""} for number in range(1000)}}, "20000 folders"),
        ({"files": {"sys/a": {"link": "b/../../.."}}}, "leads out"),
        ({"files": {"sys/a": {"link": ""}}}, "leads out"),
        ({"files": {"sys/a": {"text": 5}}}, "must have one of"),
        ({"files": {"sys/a": {}}}, "must have one of"),
        ({"files": {"sys/a": "text"}}, "must have one of"),
        ({"files": {"sys/a": {"text": "\ud800"}}}, "damaged"),
        ({"files": {"sys/a\ud800": {"text": "x"}}}, "damaged"),
        ({"files": {"sys/config": {"hex": "zz"}}}, "damaged"),
        ({"files": {}}, "it has no function"),
        ({"files": []}, "damaged"),
        ({"device": None}, "damaged|has no function"),
        ({"holders": {"/etc/passwd": [{"pid": 1, "name": "x"}]}}, "no node of VFIO"),
        ({"holders": {"/dev/vfio/1": [{"pid": "1", "name": "x"}]}}, "pid must be of type int"),
        ({"nodes": {"/dev/vfio/1": {"mode": 0}}}, "damaged"),
        (
            {"nodes": {"/dev/vfio/1": {"mode": "x", "owner": "", "group": "", "accessible": True}}},
            "mode must be of type int",
        ),
        ({"device": "../../../etc"}, "it has no function"),
    ],
)
def test_a_foreign_damaged_or_hostile_report(healthy: Box, change: dict[str, Any], why: str) -> None:
    path = written(healthy, report(healthy) | change)
    with pytest.raises(SetupError, match=why), opened(path):
        pass


def test_nothing_is_written_outside_of_the_folder(healthy: Box) -> None:
    """One path spelt in two ways: a link there first, then text that is written over it."""
    victim = healthy.root / "victim"
    for up in range(1, 12):
        files = report(healthy)["files"] | {
            "sys/here": {"link": "."},
            "sys/a": {"link": f"{'here/' * up}{'../' * up}..{victim}"},
            "sys//a": {"text": "owned"},
        }
        with pytest.raises(SetupError, match="damaged"), opened(written(healthy, report(healthy) | {"files": files})):
            pass
        assert not victim.exists()


def test_a_link_over_another_link_leads_nowhere_else(healthy: Box) -> None:
    """What is read stays inside too: a link that is harmless as text may lead out once another one is followed."""
    secret = healthy.file("secret", "private")
    home = f"sys/devices/pci0000:00/{DSA}"
    files = report(healthy)["files"] | {
        f"{home}/deep/here": {"link": "../.."},
        f"{home}/numa_node": {"link": f"deep/here/{'../' * 3}..{secret}"},
    }
    with pytest.raises(SetupError, match="leads out"), opened(written(healthy, report(healthy) | {"files": files})):
        pass


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"\xff{}", "it is no text in UTF-8: byte 0"),
        (b'{"schema": 1,\n "x": }', "line 2, column 7: a value is expected"),
        (b'{"schema": 1} {}', "line 1, column 15: the end of the file is expected"),
        (b'{"schema": 1, "schema": 2}', """the object that begins {"schema": 1 has 'schema' twice"""),
        (b'{"a": ' + b"1" * 5000 + b"}", "a number in it has thousands of digits"),
    ],
)
def test_what_is_no_json_is_told_in_plain_words_with_the_place(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "box.json").write_bytes(content)
    with pytest.raises(SetupError) as refused, opened(tmp_path / "box.json"):
        pass
    assert why in str(refused.value)
    assert str(tmp_path / "box.json") in str(refused.value)
    assert "Expecting" not in str(refused.value)


@pytest.mark.parametrize("opener", ["[", '{"a":'])
def test_json_that_is_nested_too_deep(tmp_path: Path, opener: str) -> None:
    (tmp_path / "deep").write_text(opener * 200_000)
    with pytest.raises(SetupError, match="nested too deep"), opened(tmp_path / "deep"):
        pass


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("fifo", "link", "."):
        with pytest.raises(SetupError, match="no regular file"), opened(tmp_path / name):
            pass


def test_a_file_that_does_not_end_where_its_size_says(tmp_path: Path) -> None:
    """As files of /proc, which say 0: what is read is bounded, not what is announced."""
    with pytest.raises(SetupError, match="report"), opened("/proc/kallsyms"):
        pass
    with open(tmp_path / "large", "wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(SetupError, match="larger than 16 MiB"), opened(tmp_path / "large"):
        pass


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="No such file"), opened(tmp_path / "none"):
        pass
    (tmp_path / "text").write_text("hello")
    with pytest.raises(SetupError, match="vfio-ims report DEVICE writes one"), opened(tmp_path / "text"):
        pass


def test_the_verbs(healthy: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from vfio_ims import host

    machine = healthy.machine
    monkeypatch.chdir(healthy.root)
    with monkeypatch.context() as there:
        there.setattr(host, "Machine", lambda: machine)
        made = CliRunner().invoke(cli, ["report", DSA], standalone_mode=False)
    match = re.search(r"vfio-ims show (report:\S+)", made.stdout)
    assert match is not None
    name = match[1]
    for words, text in (
        (["show", name], "SIOV DVSEC: yes"),
        (["doctor", name], "group 23: it alone"),
        (["list", name], "usable"),
    ):
        result = CliRunner().invoke(cli, words, standalone_mode=False)
        assert text in result.stdout, result
        assert result.return_value in (0, None)
    with pytest.raises(UsageError, match="not opened"):
        CliRunner().invoke(cli, ["show", name, "--live"], standalone_mode=False, catch_exceptions=False)
    with pytest.raises(UsageError, match="a report can be looked at, not opened"):
        open_device(name)
