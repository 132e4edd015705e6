# SPDX-License-Identifier: Apache-2.0
"""The host's side on a real kernel: binding, permissions, removal, hand-over."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.vm.lab import Guest
from tests.vm.pieces import need_open_folders, need_vm
from tests.vm.platforms import INTEL
from tests.vm.qmp import Qmp
from tests.vm.served import SCENARIOS, Done, Lab
from vfio_ims.testing.server import ServedModel


@pytest.fixture(scope="module")
def lab(shared_lab: Lab) -> Lab:
    return shared_lab


@pytest.mark.parametrize("interface", ["type1", "iommufd"])
@pytest.mark.parametrize("model", ["minimal", "dsa"])
def test_an_open_device_is_handed_to_an_unprivileged_process(lab: Lab, interface: str, model: str) -> None:
    need_open_folders()
    found = lab.scenario("handover", f"{lab[model]},iommu={interface}")
    assert found["uid"] == 65534
    assert found["woken"] == [True] * 4
    assert f"process {found['pid']}" in found["owner"]
    assert f"process {found['pid']}" in found["second"]
    assert (found["after"], found["status"], found["left"]) == ("closed", 0, 0)


@pytest.mark.parametrize("interface", ["type1", "iommufd"])
def test_memory_decoding_off_is_an_error_and_no_signal(lab: Lab, interface: str) -> None:
    found = lab.scenario("decode_off", f"{lab['minimal']},iommu={interface}")
    assert found["same"]
    assert all("DeviceError" in text for text in found["failures"]), found


@pytest.mark.parametrize(("model", "interface"), [("minimal", "type1"), ("dsa", "iommufd")])
def test_changes_from_outside_are_reported_and_undone_by_reset(lab: Lab, model: str, interface: str) -> None:
    found = lab.scenario("changed_from_outside", f"{lab[model]},iommu={interface}")
    says = {
        "reset": "1 of 1 slot does not hold what was written",
        "decoding": "memory decoding is off",
        "mastering": "bus mastering is off",
        "asleep": "it sleeps, in power state D3hot",
    }
    assert set(found) == set(says) - ({"asleep"} if model == "minimal" else set())  # it has no power management
    for what, answer in found.items():
        assert answer["found"].startswith(f"DeviceError: {says[what]}"), answer
        assert answer["waiter"] == ["DeviceError"]
        assert answer["works_again"], what


@pytest.mark.parametrize("interface", ["type1", "iommufd"])
@pytest.mark.parametrize("model", ["minimal", "dsa"])
def test_a_function_removed_while_its_slots_fire_is_given_back(lab: Lab, interface: str, model: str) -> None:
    address = lab[f"removable-{model}"]
    bound = lab.run(["vfio-ims", "bind", address])
    assert bound.status in (0, 4), bound
    found = lab.scenario("removal", f"{address},iommu={interface}")
    assert found["given"]
    assert found["seconds"] < 2.0
    assert found["fires"] > 0
    # A wait under way raises RemovedError, a later call ClosedError: both say why.
    assert "the host takes the device back" in found["ends"][0]
    assert "the host takes the device back" in found["reason"]
    assert found["touched"] == []
    assert found["gone"]
    assert found["back"]
    print(f"given back {found['seconds'] * 1000:.0f} ms after the request")


def test_more_events_than_the_socket_holds_lose_nothing(lab: Lab) -> None:
    address = lab["removable-minimal"]
    bound = lab.run(["vfio-ims", "bind", address])
    assert bound.status in (0, 4), bound
    found = lab.scenario("burst", address)
    assert found["lost"]  # the kernel dropped events
    kinds = [text.split()[1] for text in found["heard"] if text.startswith(address)]
    assert kinds == ["unbound", "bound", "ready"] or kinds == ["unbound"]


@pytest.fixture(scope="module")
def machine() -> Iterator[Lab]:
    """A machine as it comes: real udevd, functions with whatever driver the kernel gives them."""
    need_vm()
    if shutil.which("udevadm") is None and not os.environ.get("VFIO_IMS_REQUIRE_VM"):
        pytest.skip("no udevd here to start in the guest: sudo apt install udev")
    with ExitStack() as stack:
        servers = []
        for model in ("minimal", "intel-dsa"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vfio-ims-host-")))
            servers.append(stack.enter_context(closing(ServedModel(model, folder))))
        others = [{"driver": "virtio-rng-pci"}, {"driver": "edu"}]
        functions = [*(server.path for server in servers), *others]
        guest = stack.enter_context(Guest(INTEL, functions, driver=None, udev=True))
        yield Lab(guest, ["minimal", "dsa", "rng", "edu"])


OPTIONS = ("--timeout", "20", "--slots", "16", "--json")


def as_member(lab: Lab, *words: str, groups: str = "vfio") -> Done:
    return lab.run([str(SCENARIOS / "as_user.py"), groups, *words], timeout=900)


def test_from_discovery_to_restore(machine: Lab) -> None:
    """The whole way of a device, as one script."""
    need_open_folders()
    lab, device = machine, machine["dsa"]
    before = lab.scenario("bindings")
    assert (before[device], before[lab["rng"]]) == ("no driver", "virtio-pci")

    listed = {one["address"]: one for one in lab.run(["vfio-ims", "list", "--json"]).json["devices"]}
    assert {device, lab["minimal"]} == set(listed)
    assert listed[device]["state"] == "needs bind"
    assert listed[device]["ims"]["answer"] is True

    ill = lab.run(["vfio-ims", "doctor", device, "--json"])
    assert ill.status == 3
    advice = {one["fix"] for one in ill.json["checks"] if one["status"] == "fail"}
    assert advice == {f"sudo vfio-ims bind {device}"}

    installed = lab.run(["vfio-ims", "udev", "install"])
    assert installed.status == 0, installed
    for name in (device, lab["minimal"], lab["rng"]):
        assert lab.run(["vfio-ims", "bind", name]).status == 0
    lab.guest.run(["udevadm", "settle"])
    well = lab.run(["vfio-ims", "doctor", device, "--json"])
    assert well.status == 0, well

    for interface in ("type1", "iommufd"):
        tested = as_member(lab, "selftest", device, "--iommu", interface, *OPTIONS)
        assert tested.status == 0, tested
        assert tested.json["lost"] == 0
        assert tested.json["delivered"] == tested.json["fired"] > 0

        outside = as_member(lab, "selftest", device, "--iommu", interface, groups="")
        assert outside.status == 3
        assert "root:vfio" in outside.stderr
        assert "sudo usermod -aG vfio nobody" in outside.stderr
    unknown = as_member(lab, "selftest", lab["minimal"])  # 1234:1a55 is in software only: no rule has it
    assert unknown.status == 3
    assert "root:root with mode 0600" in unknown.stderr

    found = lab.scenario("removal", device)
    assert found["given"]
    assert found["gone"]
    assert found["back"]
    assert lab.run(["vfio-ims", "bind", device]).status == 0
    lab.guest.run(["udevadm", "settle"])
    again = as_member(lab, "selftest", device, *OPTIONS)
    assert again.status == 0, again

    restored = lab.run(["vfio-ims", "restore"])
    assert restored.status == 0, restored
    assert lab.scenario("bindings") == before


def test_kill_9_at_each_write_then_restore(machine: Lab) -> None:
    found = machine.scenario("killed_binding", machine["rng"], machine["dsa"], machine["edu"], timeout=400)
    assert found["points"] >= 14  # before and after each of three writes where there was a driver, two where none
    assert found["bad"] == []
    assert set(found["bound"].values()) == {"vfio-pci, driver_override vfio-pci"}
    assert found["same"]


def test_a_rule_binds_it_again_whenever_it_comes(machine: Lab) -> None:
    lab, device = machine, machine["rng"]
    assert lab.run(["vfio-ims", "bind", device, "--persist"]).status == 0
    again = f"echo 1 > /sys/bus/pci/devices/{device}/remove; echo 1 > /sys/bus/pci/rescan; udevadm settle"
    lab.guest.run(["sh", "-c", again])
    assert lab.scenario("bindings")[device] == "vfio-pci, driver_override vfio-pci"
    assert lab.run(["vfio-ims", "restore", device]).status == 0
    lab.guest.run(["sh", "-c", again])
    assert lab.scenario("bindings")[device] == "virtio-pci"


def test_virtual_functions_and_their_token() -> None:
    need_vm()
    # igb wants a port of PCI Express; the guest finds it behind the first bus number that the port was given.
    port = ["-device", "pcie-root-port,id=seat,addr=1e.0,chassis=1", "-device", "igb,bus=seat"]
    options = ["vfio_pci.enable_sriov=1"]
    with Guest(INTEL, driver=None, kernel_options=options, qemu_options=port) as guest:
        lab = Lab(guest, [])
        listed = lab.run(["vfio-ims", "list", "-d", "8086:10c9", "--json"]).json["devices"]
        found = lab.scenario("sriov", listed[0]["address"])
    assert found["virtual"] == ["vfio-pci vfio-pci"] * 2  # the kernel keeps them for VFIO by itself
    for interface, mount in (("type1", "group"), ("iommufd", "cdev")):
        tried = found[interface]
        assert tried["same"] == f"opened by {mount}"
        assert tried["auto"] == "opened by cdev"
        for attempt in ("other", "none"):
            assert "AccessDenied" in tried[attempt]
            assert "both openers must show the same VF token" in tried[attempt]
    assert "must be a UUID" in found["nonsense"]
    assert found["restored"] == ["back to no driver"]
    assert found["as_before"]
    assert found["left"] == 0


def test_a_device_is_unplugged_while_open_and_plugged_in_again(tmp_path: Path) -> None:
    need_vm()
    seat = ["-device", "pcie-root-port,id=seat,addr=1e.0,chassis=1", "-device", "edu,bus=seat,id=guest"]
    native = ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]  # hotplug by the port itself
    monitor = ["-qmp", f"unix:{tmp_path}/qmp,server=on,wait=off"]
    options = ["pcie_ports=native"]  # the guest's kernel lacks what it would have to have for asking the firmware
    with (
        Guest(INTEL, driver=None, kernel_options=options, qemu_options=[*seat, *native, *monitor]) as guest,
        Qmp(f"{tmp_path}/qmp") as qemu,
    ):

        def wait_for(name: str) -> None:
            deadline = time.monotonic() + 60
            while not (guest.rwdir / name).exists() and time.monotonic() < deadline:
                time.sleep(0.1)

        def pull_and_push() -> None:
            wait_for("open")
            qemu.run("device_del", id="guest")
            qemu.wait("DEVICE_DELETED")
            wait_for("given")
            qemu.run("device_add", driver="edu", bus="seat", id="guest")

        lab = Lab(guest, [])
        address = lab.run(["vfio-ims", "list", "-d", "1234:11e8", "--json"]).json["devices"][0]["address"]
        hands = threading.Thread(target=pull_and_push)
        hands.start()
        found = lab.scenario("hotplug", address, timeout=150)
        hands.join()
    assert found["given"]
    assert "the host takes the device back" in found["reason"]
    assert found["heard"][:2] == ["bound vfio-pci", "ready"]
    assert "removed" in found["heard"]
    assert found["heard"][-3:] == ["appeared", "bound vfio-pci", "ready"]
    assert found["same"]
    assert found["restored"] == ["back to no driver"]


def test_a_proof_leaves_the_machine_as_it_was_however_it_ends(machine: Lab) -> None:
    """From an unbound function; also broken off at several points, and where a stage fails."""
    device = machine["minimal"]
    assert machine.scenario("bindings")[device] == "no driver"
    found = machine.scenario("proving", device, timeout=600)
    whole = found["whole"]
    assert whole["verdict"] == "passed", whole["text"]
    assert set(whole["stages"].values()) == {"passed"}, whole["text"]
    for name, said in found.items():
        assert said["differs"] == {}, f"{name}: {said['differs']}"
        assert said["left"] == [], name
        assert said["stages"]["restore"] in ("passed", "not needed"), said["text"]
    for stage in ("bind", "open", "reset"):
        said = found[f"interrupted in {stage}"]
        assert (said["verdict"], said["stages"][stage]) == ("interrupted", "interrupted"), said["text"]
    assert found["interrupted in the middle of the self-test"]["stages"]["IMS self-test"] == "interrupted"
    assert found["driver fails"]["stages"]["driver"] == "failed"
    assert found["a write fails"]["stages"]["bind"] == "failed"


def test_the_proof_as_a_command(machine: Lab) -> None:
    before = machine.scenario("bindings")
    done = machine.run(["vfio-ims", "prove", machine["dsa"], "--timeout", "20", "--slots", "4", "--json"], timeout=300)
    assert done.status == 0, done
    assert done.json["verdict"] == "passed"
    assert done.json["machine"]["left"] == []
    assert before[machine["rng"]] == "virtio-pci"
    unknown = machine.run(["vfio-ims", "prove", machine["rng"], "--json"], timeout=300)
    assert unknown.status == 3, unknown  # no family here knows it
    outcomes = {stage["name"]: stage["outcome"] for stage in unknown.json["stages"]}
    assert (outcomes["loopback"], outcomes["driver"], outcomes["restore"]) == ("passed", "failed", "passed")
    assert machine.scenario("bindings") == before
