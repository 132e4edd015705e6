# SPDX-License-Identifier: Apache-2.0
"""The verbs bind, unbind and restore as a person sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.host.box import DSA, Box
from tests.host.fake_kernel import FakeKernel, state
from vfio_ims.cli.main import cli
from vfio_ims.errors import DeviceBusy, SetupError, UsageError


@pytest.fixture
def ready(box: Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """The verbs look at the box instead of this machine."""
    from vfio_ims import host
    from vfio_ims.host import binder

    box.vfio()
    box.tree.driver("idxd")
    box.dsa()
    monkeypatch.setattr(host, "Machine", lambda: box.machine)
    monkeypatch.setattr(binder, "Writer", FakeKernel)
    return box


def run(*words: str) -> Result:
    result = CliRunner().invoke(cli, words, standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_dry_run_prints_the_writes_and_makes_none(ready: Box) -> None:
    before = state(ready.root)
    result = run("bind", "6a:01.0", "-n")
    assert result.return_value == 0
    assert result.stdout.splitlines() == [
        f"echo vfio-pci > /sys/bus/pci/devices/{DSA}/driver_override",
        f"echo {DSA} > /sys/bus/pci/drivers/idxd/unbind",
        f"echo {DSA} > /sys/bus/pci/drivers/vfio-pci/bind",
    ]
    assert state(ready.root) == before


def test_a_dry_run_where_the_driver_is_not_loaded_begins_with_that(ready: Box) -> None:
    (ready.root / "sys/bus/pci/drivers/vfio-pci").rename(ready.root / "away")
    first, *writes = run("bind", DSA, "-n").stdout.splitlines()
    assert first == "sudo modprobe vfio-pci  # it is not loaded"
    assert [write.rpartition("/")[2] for write in writes] == ["driver_override", "unbind", "bind"]
    with pytest.raises(SetupError) as refused:
        run("bind", DSA)
    assert (refused.value.hint, state(ready.root)[DSA][0]) == ("sudo modprobe vfio-pci", "idxd")


def test_bind_restore_and_again(ready: Box) -> None:
    before = state(ready.root)
    ready.node("vfio/23")
    text = run("bind", "-d", "8086:11fb").stdout
    assert f"{DSA}: was idxd, is vfio-pci" in text
    assert "/dev/vfio/23 is root:vfio, mode 0660" in text
    assert f"vfio-ims selftest {DSA}" in text
    assert run("bind", DSA).return_value == 4
    assert run("restore", "-n").stdout.splitlines()[-1] == f"echo {DSA} > /sys/bus/pci/drivers/idxd/bind"
    assert run("restore").stdout == f"{DSA}: back to idxd\n"
    assert state(ready.root) == before
    again = run("restore")
    assert again.return_value == 4
    assert "Nothing to restore" in again.stderr


def test_unbind(ready: Box) -> None:
    assert f"{DSA}: was idxd, is bound to no driver" in run("unbind", DSA).stdout
    assert run("unbind", DSA).return_value == 4
    assert run("restore", DSA).return_value == 0


@pytest.mark.parametrize("verb", ["bind", "unbind"])
def test_a_dry_run_refuses_what_the_real_one_refuses(ready: Box, verb: str) -> None:
    ready.tree.file(f"bus/pci/devices/{DSA}/dsa0/wq0.0/clients", "2")
    refusals = []
    for more in ((), ("-n",)):
        with pytest.raises(DeviceBusy, match=r"queue wq0\.0 of dsa0 has 2 clients") as refused:
            run(verb, DSA, *more)
        refusals.append(str(refused.value))
    assert refusals[0] == refusals[1]
    assert "--force" in refusals[0]
    assert run(verb, DSA, "-n", "--force").stdout.startswith("echo ")


def test_persist_writes_a_rule_shows_it_and_restore_removes_it(ready: Box) -> None:
    (ready.root / "etc/udev/rules.d").mkdir(parents=True)
    text = run("bind", DSA, "--persist").stdout
    rule = ready.root / f"etc/udev/rules.d/60-vfio-ims-bind-{DSA}.rules"
    assert rule.read_text() in text
    assert f'KERNEL=="{DSA}", ATTR{{vendor}}=="0x8086", ATTR{{device}}=="0x11fb"' in rule.read_text()
    assert run("restore", DSA, "-n").stdout.splitlines()[-1] == f"rm {rule}"
    unnamed = run("restore")
    assert f"to end that: vfio-ims restore {DSA}" in unnamed.stderr
    assert "removed" in run("restore", DSA).stdout
    assert not rule.exists()


def test_what_was_asked_for_is_not_there(ready: Box) -> None:
    with pytest.raises(UsageError, match="a function must be named"):
        run("bind")
    with pytest.raises(SetupError, match=r"99:00\.0: bind: there is no such PCI function"):
        run("bind", "99:00.0")


def test_udev_check_fails_until_all_is_in_place_and_says_what_comes_next(ready: Box) -> None:
    from vfio_ims.host.rules import make_rules, own_families

    nothing = run("udev", "check")
    assert nothing.return_value == 1  # for root too: the rules are what is asked about
    assert nothing.stdout.splitlines()[-1] == "next: sudo vfio-ims udev install"
    rules = ready.file("etc/udev/rules.d/60-vfio-ims.rules", make_rules(own_families()))
    no_group = run("udev", "check")
    assert no_group.return_value == 1
    assert no_group.stdout.splitlines()[-1].startswith("next: sudo groupadd --system vfio")
    ready.file("etc/group", "vfio:x:990:")
    assert run("udev", "check").return_value == 0
    ready.user(1000)
    outside = run("udev", "check", "--json")
    assert outside.return_value == 1
    assert json.loads(outside.stdout)["next"].startswith("sudo usermod -aG vfio")
    ready.user(1000, groups=[990])
    assert run("udev", "check").return_value == 0
    rules.write_text("# edited\n")
    edited = run("udev", "check")
    assert edited.return_value == 1
    assert "udev print | diff" in edited.stdout.splitlines()[-1]


def test_what_binding_would_write_on_the_machine_of_a_report(ready: Box, tmp_path: Path) -> None:
    here = run("bind", DSA, "-n").stdout
    report = f"report:{tmp_path}/r.json"
    assert run("report", DSA, "-o", f"{tmp_path}/r.json").return_value == 0
    for place in ("sys/bus/pci/devices", "sys/bus/pci/drivers"):
        (ready.root / place).rename(ready.root / f"{place}-gone")
    assert run("bind", report, "-n").stdout == here
    assert run("unbind", report, "-n").stdout == f"echo {DSA} > /sys/bus/pci/drivers/idxd/unbind\n"
    for verb in ("bind", "unbind"):
        with pytest.raises(UsageError, match="-n prints what would be written on its machine"):
            run(verb, report)
    with pytest.raises(UsageError, match="name it alone"):
        run("bind", report, DSA, "-n")


@pytest.mark.parametrize("words", ["selftest", "monitor", "write", "restore"])
def test_verbs_that_a_report_cannot_serve_say_so(words: str) -> None:
    more = ("COMMAND=0",) if words == "write" else ()
    with pytest.raises(UsageError, match="a report can "):
        run(words, "report:some.json", *more)
