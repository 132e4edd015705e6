# SPDX-License-Identifier: Apache-2.0
"""The verbs bind, unbind and restore as a person sees them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from tests.host.box import DSA, Box
from tests.host.fake_kernel import FakeKernel, state
from vfio_ims.cli.main import cli
from vfio_ims.errors import SetupError, UsageError


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


def test_persist_writes_a_rule_shows_it_and_restore_removes_it(ready: Box) -> None:
    (ready.root / "etc/udev/rules.d").mkdir(parents=True)
    text = run("bind", DSA, "--persist").stdout
    rule = ready.root / f"etc/udev/rules.d/60-vfio-ims-bind-{DSA}.rules"
    assert rule.read_text() in text
    assert f'KERNEL=="{DSA}", ATTR{{vendor}}=="0x8086", ATTR{{device}}=="0x11fb"' in rule.read_text()
    unnamed = run("restore")
    assert f"to end that: vfio-ims restore {DSA}" in unnamed.stderr
    assert "removed" in run("restore", DSA).stdout
    assert not rule.exists()


def test_what_was_asked_for_is_not_there(ready: Box) -> None:
    with pytest.raises(UsageError, match="a function must be named"):
        run("bind")
    with pytest.raises(SetupError, match=r"99:00\.0: bind: there is no such PCI function"):
        run("bind", "99:00.0")
