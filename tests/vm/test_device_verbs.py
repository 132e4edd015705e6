# SPDX-License-Identifier: Apache-2.0
"""VFIO's verbs on a real kernel, all in one boot: INTx and MSI, resets, power, CPUs of vectors, reported errors."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.interrupts.legacy_model import LegacyModel
from tests.vm.lab import Guest
from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL
from tests.vm.qmp import Qmp
from tests.vm.served import SCENARIOS, Done, Lab
from vfio_ims.vfio_user import Server

INTERFACES = ("type1", "iommufd")
# Behind a port: a bus that can be reset, and a root that error messages go to. Two functions of one slot.
PORT = [
    *("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"),  # else the port says that it is empty
    *("-device", "pcie-root-port,id=seat,addr=1e.0,chassis=1"),
    *("-device", "e1000e,bus=seat,addr=0.0,multifunction=on,id=nic"),
    *("-device", "edu,bus=seat,addr=0.1"),
]
BIND = """
for name in "$@"; do
  echo vfio-pci > /sys/bus/pci/devices/$name/driver_override
  echo $name > /sys/bus/pci/drivers_probe
done
"""


@dataclass
class Ran:
    """What the guest's commands said. ``shell``: `vfio-ims reset`. ``bus``: of the functions behind the port."""

    kinds: Done
    verbs: dict[str, Any]
    shell: dict[str, dict[str, Done]]
    bus: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    need_vm()
    folder = tmp_path_factory.mktemp("verbs")
    model = LegacyModel("legacy")
    monitor = ["-qmp", f"unix:{folder}/qmp,server=on,wait=off"]
    options = ["pcie_ports=native"]  # the guest's kernel lacks what it would have to have for asking the firmware
    with (
        Server(model, folder / "legacy.sock") as server,
        Guest(
            INTEL, [server.path, {"driver": "edu"}], kernel_options=options, qemu_options=[*PORT, *monitor], cpus=2
        ) as guest,
        Qmp(f"{folder}/qmp") as qemu,
    ):
        lab = Lab(guest, ["legacy", "edu"])
        listed = lab.run(["vfio-ims", "list", "-d", "8086:10d3", "--json"]).json["devices"]
        nic = str(listed[0]["address"])
        bus = nic.rpartition(":")[0]
        bound = guest.run(["sh", "-ec", BIND, "sh", nic, f"{bus}:00.1"])
        assert bound.returncode == 0, bound
        names = [f"{lab['edu']},iommu={interface}" for interface in INTERFACES]
        alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_COLOR": "1"}
        hot = [["vfio-ims", "reset", nic, "--iommu", each, "--method", "hot", "--json"] for each in INTERFACES]
        any_way = [["vfio-ims", "reset", lab["legacy"], "--iommu", each, "--json"] for each in INTERFACES]
        refused = [["vfio-ims", "reset", lab["edu"], "--iommu", each, "--method", "hot"] for each in INTERFACES]
        done = iter(lab.run_all([*hot, *any_way, *refused], jobs=1))
        shell = {name: dict(zip(INTERFACES, done, strict=False)) for name in ("hot", "any way", "refused")}
        kinds = lab.run([str(SCENARIOS / "standard_kinds.py"), *names], timeout=200, env=alone)

        def inject() -> None:
            """An error in the nic, as soon as the guest watches for it by each interface.

            QEMU 11 records it in the nic's AER registers and sends no message from there: so the port reports one,
            too, and its recovery asks the drivers of all functions behind it.
            """
            for interface in INTERFACES:
                deadline = time.monotonic() + 200
                while not (guest.rwdir / f"armed-{interface}").exists() and time.monotonic() < deadline:
                    time.sleep(0.1)
                for device in ("nic", "seat"):
                    line = f"pcie_aer_inject_error {device} COMP_TIME 0x20000001 0x0100000f 0x1 0xfee00000"
                    qemu.run("human-monitor-command", **{"command-line": line})

        injecting = threading.Thread(target=inject, daemon=True)
        injecting.start()
        arguments = [str(guest.rwdir), nic, lab["legacy"], lab["edu"]]
        verbs = lab.scenario("device_verbs", *arguments, timeout=200)
        injecting.join(10)
        yield Ran(kinds, verbs, shell, bus)
    model.close()


def test_intx_and_msi(ran: Ran) -> None:
    """QEMU's edu, by both interfaces: the tests that run on models here."""
    ran.kinds.check()
    closing = ran.kinds.stdout.splitlines()[-1]
    passed = re.match(r"(\d+) passed", closing)
    assert passed is not None, ran.kinds
    assert int(passed[1]) >= 24, ran.kinds
    assert "skipped" not in closing, ran.kinds


@pytest.mark.parametrize("interface", INTERFACES)
def test_each_way_to_reset(ran: Ran, interface: str) -> None:
    found = ran.verbs["resets"][interface]
    assert found["methods"] == ["FUNCTION", "D3"]
    assert found["FUNCTION"] == found["D3"] == [7, 0, 0x4C45_4741]
    assert "neither its slot nor its bus can be reset" in found["hot"]
    assert "UnsupportedError" in ran.verbs["root bus"][interface]["hot"]
    assert "HOT" not in ran.verbs["root bus"][interface]["methods"]


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_hot_reset_takes_the_slot_along(ran: Ran, interface: str) -> None:
    found = ran.verbs["hot reset"][interface]
    assert found["scope"] == [[f"{ran.bus}:00.0", True], [f"{ran.bus}:00.1", True]]
    assert found["register"] == [0x1234, 0]
    assert found["memory"]
    assert found["message kept"]
    assert found["arrives"]


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_reset_from_the_shell(ran: Ran, interface: str) -> None:
    """Hot, with its neighbour named; in the first way that the kernel does; and refused, with the kernel's reason."""
    hot = ran.shell["hot"][interface].check().json
    assert hot["attempts"] == [{"method": "hot reset", "done": True, "why": ""}]
    assert [(one["address"], one["owned"]) for one in hot["hot_reset_takes_along"]] == [(f"{ran.bus}:00.1", True)]
    any_way = ran.shell["any way"][interface].check().json
    assert any_way["attempts"] == [{"method": "function reset", "done": True, "why": ""}]
    for answer in (hot, any_way):
        assert [one["ok"] for one in answer["findings"]] == [True, True, None], "ids, BARs; no driver knows registers"
    refused = ran.shell["refused"][interface].check(status=1)
    assert refused.stdout.startswith("hot reset: refused: ")
    assert "neither its slot nor its bus can be reset" in refused.stdout


@pytest.mark.parametrize("interface", INTERFACES)
def test_power(ran: Ran, interface: str) -> None:
    found = ran.verbs["power"][interface]
    assert found["state"] == "D3HOT"
    assert "DeviceError" in found["asleep"]
    assert found["awake"]
    assert "UnsupportedError" in found["D1"]
    assert "UsageError" in found["twice"]
    assert not found["woken early"]
    assert found["after"]


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_vector_goes_to_another_cpu(ran: Ran, interface: str) -> None:
    found = ran.verbs["cpus"][interface]
    assert found["before"] == [0, 1]
    assert found["moved"]
    assert "none of these CPUs is online" in found["offline"]


@pytest.mark.parametrize("interface", INTERFACES)
def test_an_error_is_reported_with_what_aer_says(ran: Ran, interface: str) -> None:
    found = ran.verbs["errors"][interface]
    assert "it reported an uncorrectable error" in found["said"]
    assert "nonfatal: completion_timeout; packet header of completion_timeout: " in found["said"]
    assert all(found["header"])
