# SPDX-License-Identifier: Apache-2.0
"""A report stands for the device on any other machine, gives nothing private away, and a hostile one does no harm."""

from __future__ import annotations

import json
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


def test_the_users_name_is_left_out_of_the_advice(healthy: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from vfio_ims.host import machine

    monkeypatch.setattr(machine.Machine, "user", machine.User(1000, frozenset({1000}), 0, "alice"))
    healthy.node("vfio/23", accessible=False)
    content = report(healthy)
    advice = next(one["fix"] for one in content["doctor"] if one["check"] == "group")
    assert advice == "sudo usermod -aG vfio USER, and log in again"
    assert "alice" not in json.dumps(content)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": "other"}, "no report of vfio-ims"),
        ({"schema_version": "2.0"}, "this version reads 1.0"),
        ({"files": {"../../evil": {"text": "x"}}}, "no path below the root"),
        ({"files": {"/etc/evil": {"text": "x"}}}, "no path below the root"),
        ({"files": {"sys/a": {"link": "../../.."}}}, "leads out"),
        ({"files": {"sys/a": {"link": "/etc"}}}, "leads out"),
        ({"files": {"sys/a": {"link": "b"}, "sys/a/c": {"text": "x"}}}, "damaged"),
        ({"files": {"sys/config": {"hex": "zz"}}}, "damaged"),
        ({"files": {}}, "it has no function"),
        ({"files": []}, "damaged"),
        ({"device": None}, "damaged|has no function"),
        ({"holders": {"/etc/passwd": [{"pid": 1, "name": "x"}]}}, "no node of VFIO"),
        ({"nodes": {"/dev/vfio/1": {"mode": 0}}}, "damaged"),
    ],
)
def test_a_foreign_damaged_or_hostile_report(healthy: Box, change: dict[str, Any], why: str) -> None:
    path = written(healthy, report(healthy) | change)
    with pytest.raises(SetupError, match=why), opened(path):
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
