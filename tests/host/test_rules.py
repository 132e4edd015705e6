# SPDX-License-Identifier: Apache-2.0
"""The udev rules: made from the drivers' tables, committed as made, open to no other user; put in place, judged."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.host.box import DSA, Box
from vfio_ims.errors import AccessDenied, SetupError, VfioImsError
from vfio_ims.families import Family
from vfio_ims.host import persist, rules_place
from vfio_ims.host.doctor import Status
from vfio_ims.host.doctor.rules import judge_rules
from vfio_ims.host.rules import RULES_NAME, SYSUSERS_NAME, make_rules, make_sysusers, own_families

RULES = Path(__file__).parents[2] / "udev-rules"


def test_the_committed_files_are_what_is_made() -> None:
    how = "vfio-ims udev print > udev-rules/60-vfio-ims.rules"
    assert (RULES / RULES_NAME).read_text() == make_rules(own_families()), how
    assert (RULES / SYSUSERS_NAME).read_text() == make_sysusers(), "vfio-ims udev print --sysusers"


def test_every_id_of_every_driver_is_in_them() -> None:
    text = make_rules(own_families())
    for family in own_families():
        for one in family.ids:
            vendor, device = one.split(":")
            if vendor == "1234":  # unassigned: in software only
                assert device not in text.lower()
                continue
            assert re.search(rf'ATTRS{{vendor}}=="0x{vendor}", ATTRS{{device}}=="[^"]*0x{device}', text), one
            assert f"v0000{vendor.upper()}d0000{device.upper()}" in text


@pytest.mark.parametrize("any_device", [False, True])
def test_no_device_is_open_to_everybody(any_device: bool) -> None:
    for line in make_rules(own_families(), any_device=any_device).splitlines():
        modes = re.findall(r'MODE="(\d+)"', line)
        if modes == ["0666"]:
            assert 'SUBSYSTEM=="misc", KERNEL=="vfio"' in line
        else:
            assert modes in ([], ["0660"])


def test_the_rules_say_how_far_members_are_trusted() -> None:
    assert "as\n# trusted as root" in make_rules(own_families())
    assert "INTEL-SA-01084" in make_rules(own_families())
    harmless = Family("other", ids=["8086:0001"], driver="x:Y")
    assert "INTEL-SA-01084" not in make_rules([harmless])
    assert "8086" in make_rules([harmless])
    assert "as trusted as root" in (RULES / "README.md").read_text()


def test_a_group_of_another_name() -> None:
    text = make_rules(own_families(), "lab")
    assert 'GROUP="vfio"' not in text
    assert 'GROUP="lab"' in text
    assert "g lab - -" in make_sysusers("lab")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been run."""
    commands: list[str] = []

    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(" ".join(command))
        return subprocess.CompletedProcess(command, 1 if "--reload" in command and len(commands) > 90 else 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return commands


def test_install_then_remove(box: Box, ran: list[str]) -> None:
    reported: list[str] = []
    rules_place.install(box.machine, "the rules\n", on_action=reported.append)
    assert (box.root / "etc/udev/rules.d" / RULES_NAME).read_text() == "the rules\n"
    assert "g vfio" in (box.root / "etc/sysusers.d" / SYSUSERS_NAME).read_text()
    assert ran == ["systemd-sysusers vfio-ims.conf", "udevadm control --reload", " ".join(rules_place.TRIGGER)]
    assert rules_place.remove(box.machine, on_action=reported.append)
    assert not list((box.root / "etc/udev/rules.d").iterdir())
    assert not rules_place.remove(box.machine, on_action=reported.append)


def test_a_group_that_is_there_is_not_made(box: Box, ran: list[str]) -> None:
    box.file("etc/group", "root:x:0:\nvfio:x:990:alice")
    rules_place.install(box.machine, "x", on_action=lambda line: None)
    assert not any("sysusers" in command for command in ran)


def test_dry_run_does_nothing(box: Box, ran: list[str]) -> None:
    reported: list[str] = []
    rules_place.install(box.machine, "x", on_action=reported.append, dry_run=True)
    assert ran == []
    assert not (box.root / "etc/udev").exists()
    assert any("udevadm trigger" in line for line in reported)


def test_a_command_that_fails_is_reported(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, 1, "", "no bus"))
    with pytest.raises(SetupError, match="no bus"):
        rules_place.install(box.machine, "x", on_action=lambda line: None)


def judged(box: Box, text: str = "x\n") -> dict[str, tuple[Status, str]]:
    return {result.check: (result.status, result.fix) for result in judge_rules(box.machine, text)}


def test_nothing_installed(box: Box) -> None:
    box.user(1000)
    found = judged(box)
    assert found["udev rules"] == (Status.FAIL, "sudo vfio-ims udev install")
    assert found["group"][0] == Status.FAIL
    assert found["group"][1].startswith("sudo groupadd --system vfio")
    box.user(0)
    assert judged(box)["udev rules"][0] == Status.WARN  # root needs none


def test_in_place(box: Box) -> None:
    box.file("etc/udev/rules.d/60-vfio-ims.rules", "x")
    box.file("etc/group", "vfio:x:990:")
    box.user(1000, groups=[990])
    assert {status for status, _ in judged(box).values()} == {Status.OK}


def test_edited_or_old_rules(box: Box) -> None:
    box.file("etc/udev/rules.d/60-vfio-ims.rules", "something else")
    status, fix = judged(box)["udev rules"]
    assert status == Status.WARN
    assert "vfio-ims udev print | diff" in fix


def test_not_in_the_group_and_not_yet_in_the_group(box: Box) -> None:
    box.file("etc/group", "vfio:x:990:nobody-here")
    box.user(65534)
    assert judged(box)["group"][0] == Status.FAIL
    assert "sudo usermod -aG vfio" in judged(box)["group"][1]
    box.file("etc/group", f"vfio:x:990:{box.machine.user.name}")
    assert "log out and in again" in judged(box)["group"][1]


def test_nodes_that_everybody_may_open(box: Box) -> None:
    box.node("vfio/7", mode=0o666)
    box.node("vfio/vfio", mode=0o666)
    status, fix = judged(box)["open to all"]
    assert status == Status.WARN
    assert "sudo chmod o= /dev/vfio/7;" in fix


def persisted(box: Box) -> None:
    found = box.machine.function(DSA)
    assert found is not None
    persist.persist(box.machine, found, "vfio-pci")


RULE_WRITERS: dict[str, Callable[[Box], object]] = {
    "persist": persisted,
    "forget": lambda box: persist.forget(box.machine, DSA),
    "install": lambda box: rules_place.install(box.machine, "x", on_action=lambda line: None),
    "remove": lambda box: rules_place.remove(box.machine, on_action=lambda line: None),
}


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (errno.ENOSPC, SetupError, "there is no room"),
        (errno.EROFS, SetupError, "that file system is read-only"),
        (errno.EIO, SetupError, "Input/output error"),
        (errno.EPERM, AccessDenied, "Operation not permitted"),
    ],
)
@pytest.mark.parametrize(
    ("writer", "step"),
    [("persist", "fsync"), ("persist", "replace"), ("install", "fsync"), ("install", "replace")]
    + [("forget", "unlink"), ("forget", "fsync"), ("remove", "unlink"), ("remove", "fsync")],
)
def test_whatever_the_file_system_refuses_of_a_rule_is_an_error_of_ours(
    box: Box, monkeypatch: pytest.MonkeyPatch, writer: str, step: str, code: int, kind: type[VfioImsError], text: str
) -> None:
    """And what was there before stays: a rule is replaced on disk, whole, or not at all."""
    box.dsa()
    persisted(box)
    rules_place.install(box.machine, "x", on_action=lambda line: None)
    folder = box.machine.etc / "udev/rules.d"
    before = {place.name: place.read_text() for place in folder.iterdir()}

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(os, step, refuse)
        with pytest.raises(kind, match=text) as refused:
            RULE_WRITERS[writer](box)
    assert refused.value.hint
    if writer in ("persist", "install") or step == "unlink":  # else it is gone, though perhaps not on disk
        assert {place.name: place.read_text() for place in folder.iterdir()} == before


def test_a_file_where_the_rules_folder_should_be(box: Box) -> None:
    box.dsa()
    box.file("etc/udev")
    for writer in ("persist", "install", "forget"):
        with pytest.raises(SetupError, match="Not a directory") as refused:
            RULE_WRITERS[writer](box)
        assert refused.value.hint == f"ls -ld {box.machine.etc / 'udev'}"
