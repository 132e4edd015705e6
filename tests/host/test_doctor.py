# SPDX-License-Identifier: Apache-2.0
"""Each check of the doctor's is made to fail, and its advice is read."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from tests.host.box import DSA, Box, bare_reads
from tests.host.doctor_cases import CASES, FAIL, OK, UNKNOWN, WARN, in_a_vm, no_groups, several, sibling
from tests.pci.dumps import SPR_DSA
from vfio_ims.cli.main import cli
from vfio_ims.host.doctor import Result, Status, diagnose


def results(box: Box, address: str | None = DSA, **more: int) -> dict[str, Result]:
    machine = box.machine
    found = diagnose(machine, machine.function(address) if address else None, **more)
    return {result.check: result for result in found}


@pytest.fixture
def healthy(box: Box) -> Box:
    box.healthy()
    return box


def test_where_all_is_well_nothing_is_said_to_be_wrong(healthy: Box) -> None:
    found = results(healthy)
    not_well = {name: str(one) for name, one in found.items() if one.status is not OK}
    # Only the opened device could show it; and another user's processes would have to be looked at as root.
    assert list(not_well) == ["IMS verdict"]
    assert found["IMS verdict"].fix == f"vfio-ims show {DSA} --live (resets it)"
    assert not any(one.cause or one.fix for one in found.values() if one.status is OK)


@pytest.mark.parametrize(
    ("check", "breaks", "status", "why", "advice"),
    CASES,
    ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)],
)
def test_a_check_that_fails_says_why_and_what_to_do(
    healthy: Box, check: str, breaks: Callable[[Box], object], status: Status, why: str, advice: str
) -> None:
    breaks(healthy)
    result = results(healthy)[check]
    assert result.status is status, result
    assert why in f"{result.evidence}; {result.cause}"
    assert advice in result.fix


@pytest.mark.parametrize("breaks", [in_a_vm, several(in_a_vm, no_groups)])
def test_in_a_virtual_machine_no_advice_is_about_the_firmware(healthy: Box, breaks: Callable[[Box], object]) -> None:
    breaks(healthy)
    healthy.tree.file("kernel/irq/40/chip_name", "PCI-MSIX")
    assert not [one for one in results(healthy).values() if "firmware" in one.fix]


def test_a_bridge_is_not_to_be_bound(healthy: Box) -> None:
    for code, kind in (("0x060000", "host bridge"), ("0x060400", "bridge between PCI buses")):
        healthy.tree.function("0000:00:1c.0", "8086:0001", class_code=int(code, 16))
        found = results(healthy, "0000:00:1c.0")
        assert found["driver"].evidence == f"it is a {kind}"
        assert not any("vfio-ims bind" in one.fix for one in found.values())
        assert not any(name.startswith("IMS") for name in found)


def test_a_device_that_cannot_have_ims_is_not_to_be_opened(healthy: Box) -> None:
    healthy.dsa(driver="vfio-pci", config=SPR_DSA[:0x34] + bytes(4096 - 0x34))
    found = results(healthy)
    assert found["IMS: donors"].status is FAIL
    assert "IMS verdict" not in found
    assert not any("--live" in one.fix for one in found.values())
    healthy.dsa(driver="vfio-pci", config=SPR_DSA[:256] + bytes(3840))
    found = results(healthy)
    assert found["IMS: SIOV DVSEC"].evidence == "config space has no DVSEC at all (read from sysfs)"
    assert "IMS: IMS bit" not in found  # said already


def test_every_check_is_made_to_fail_here(healthy: Box) -> None:
    elsewhere = {"memlock", "IMS verdict"}  # below, and above: only the opened device shows it
    assert {case[0] for case in CASES} >= set(results(healthy)) - elsewhere


def test_bound_to_another_driver(healthy: Box) -> None:
    (healthy.root / f"sys/bus/pci/devices/{DSA}/driver").unlink()
    healthy.tree.link(f"bus/pci/devices/{DSA}/driver", "bus/pci/drivers/idxd")
    healthy.tree.file(f"bus/pci/devices/{DSA}/dsa0/wq0.1/clients", "1")
    result = results(healthy)["driver"]
    assert result.status is FAIL
    assert "queue wq0.1 of dsa0 has 1 client" in result.cause
    assert result.fix == f"sudo vfio-ims bind {DSA}"


@pytest.mark.parametrize("capabilities", [0, 1 << 14])
def test_locked_memory(healthy: Box, capabilities: int) -> None:
    healthy.user(1000, groups=[990], memlock="65536", locked=60, capabilities=capabilities)
    result = results(healthy, memory=1 << 30)["memlock"]
    if capabilities:
        assert result.status is OK  # CAP_IPC_LOCK
        return
    assert result.status is FAIL
    assert result.evidence == "limit 64 KiB, 60 KiB in use, 1 GiB needed"
    assert "type1 by process, iommufd by user" in result.cause
    assert "ulimit -l 1048636" in result.fix
    assert "LimitMEMLOCK=1048636K" in result.fix
    healthy.user(1000, memlock="unlimited")
    assert results(healthy, memory=1 << 30)["memlock"].status is OK


def test_what_another_users_processes_have_open_is_not_known(healthy: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from vfio_ims.host.holders import Holders

    monkeypatch.setattr(Holders, "scan", classmethod(lambda cls, machine: Holders({}, unseen=12)))
    result = results(healthy)["free"]
    assert result.status is UNKNOWN
    assert "12 of others" in result.evidence
    assert result.fix == f"sudo vfio-ims doctor {DSA}"


def test_on_a_bare_machine_every_check_says_something(box: Box) -> None:
    for result in diagnose(box.machine):
        assert result.evidence
        if result.status in (WARN, FAIL):
            assert result.cause, result
            assert result.fix, result


@pytest.fixture
def looked_at(healthy: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    from vfio_ims import host

    monkeypatch.setattr(host, "Machine", lambda: healthy.machine)
    return healthy


def test_the_verb(looked_at: Box) -> None:
    good = CliRunner().invoke(cli, ["doctor", DSA], standalone_mode=False)
    assert good.return_value == 0
    assert "IOMMU group: group 23: it alone" in good.stdout
    sibling(looked_at)
    bad = CliRunner().invoke(cli, ["doctor", DSA, "-q"], standalone_mode=False)
    assert bad.return_value == 3
    assert f"sudo vfio-ims bind {DSA} --group" in bad.stdout
    assert "lockdown" not in bad.stdout  # quiet: only what is not well
    document = json.loads(CliRunner().invoke(cli, ["doctor", "--json"], standalone_mode=False).stdout)
    assert document["schema"] == "vfio-ims/doctor"
    assert {"group", "check", "status", "evidence", "cause", "fix"} == set(document["checks"][0])


def test_two_thousand_functions_take_a_few_reads_each(two_thousand: Box) -> None:
    bare = bare_reads(two_thousand)
    began = time.process_time()
    assert diagnose(two_thousand.machine)
    took = time.process_time() - began
    assert took < 6 * bare, f"{took:.2f} s, {took / bare:.1f} times the bare reads"


def test_in_a_narrow_terminal_text_goes_on_under_its_own_beginning() -> None:
    program = (
        "from rich.console import Console; from rich.text import Text\n"
        "from vfio_ims.cli.output import hang\n"
        "out = Console(force_terminal=True, width=30, color_system=None)\n"
        "hang(out, Text('     cause  '), Text('one two three four five six seven'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["     cause  one two three four", "            five six seven"]
