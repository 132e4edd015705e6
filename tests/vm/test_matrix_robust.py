# SPDX-License-Identifier: Apache-2.0
"""On a real kernel: a self-test that is killed, a host that is not ready, a function that leaves and comes back."""

from __future__ import annotations

import pytest

from tests.vm.pieces import need_open_folders
from tests.vm.served import NOBODY, Lab

INTERFACES = ("type1", "iommufd")


@pytest.fixture(scope="module")
def lab(shared_lab: Lab) -> Lab:
    return shared_lab


def killed(lab: Lab, victim: str, interface: str, slots: int, *fires: int) -> dict[str, dict[str, int]]:
    """What each kill left, by the step that it hit. The scenario has checked that nothing came of it."""
    names = [f"{lab[name]},iommu={interface}" for name in (victim, "bystander", "heir")]
    facts = lab.scenario("killed", *names, str(slots), *map(str, fires), timeout=200)
    print(victim, interface, facts)
    assert facts["next"]["delivered"] == facts["next"]["fired"]
    left: dict[str, dict[str, int]] = facts["left"]
    return left


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_killed_self_test_leaves_no_slot_that_can_fire_without_a_function_reset(lab: Lab, interface: str) -> None:
    left = killed(lab, "noflr", interface, 16, 10, 30, 65)
    assert set(left) == {"own words", "donor passes", "masks"}
    # The danger is there: bare, with the bus mastered, such a slot raises a vector of who came after.
    assert left["donor passes"] == {"unmasked": 16, "name_the_heir": 16, "heirs_events": 1}


def test_a_killed_self_test_is_cleaned_up_by_the_function_reset(lab: Lab) -> None:
    left = killed(lab, "dsa", "iommufd", 64, 150)
    assert left == {"donor passes": {"unmasked": 0, "name_the_heir": 0, "heirs_events": 0}}


# --- a host that is not ready -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("interface", "node"), [("type1", "/dev/vfio/"), ("iommufd", "/dev/vfio/devices/vfio")])
def test_an_ordinary_users_error_says_what_is_missing(lab: Lab, interface: str, node: str) -> None:
    need_open_folders()
    done = lab.run(["vfio-ims", "selftest", lab["heir"], "--iommu", interface], user=NOBODY).check(status=3)
    print(done.stderr)
    assert not done.stdout
    assert "Permission denied" in done.stderr
    assert "the node belongs to root:root with mode 06" in done.stderr
    assert "sudo chgrp vfio /dev/" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unbound_functions_error_says_how_to_bind(lab: Lab) -> None:
    address = lab["heir"]
    lab.guest.run(["sh", "-c", f"echo {address} > /sys/bus/pci/devices/{address}/driver/unbind"])
    try:
        done = lab.run(["vfio-ims", "selftest", address]).check(status=3)
        assert "no driver is bound to it, and only a VFIO driver hands it to a program" in done.stderr
        assert f"vfio-ims bind {address}" in done.stderr
    finally:
        lab.guest.run(["sh", "-c", f"echo {address} > /sys/bus/pci/drivers_probe"])
    lab.run(["vfio-ims", "selftest", address, "--no-reset"]).check()


def test_a_function_in_uses_error_says_by_whom(lab: Lab) -> None:
    facts = lab.scenario("in_use", lab["heir"])
    assert len(facts) == 4
    for names_the_holder, text in facts.values():
        assert names_the_holder, text


# --- removal ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_function_leaves_during_interrupts_and_comes_back(lab: Lab, interface: str) -> None:
    facts = lab.scenario("removed", f"{lab['heir']},iommu={interface}", timeout=100)
    print(interface, facts)
    assert facts["asked_for"], "the kernel asks for the device back: REQ"
    assert facts["fires_after_the_request"] > 0, "until it is given back it works"
    assert facts["gone"]
    assert facts["back"]["delivered"] == facts["back"]["fired"] > 0


# --- faults on purpose ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", INTERFACES)
def test_faults_are_injected_before_the_kernel_and_leave_the_function_sound(lab: Lab, interface: str) -> None:
    """docs/faults.md: what can be had on a real function; what cannot is refused by name."""
    facts = lab.scenario("faulty", f"{lab['heir']},iommu={interface}", timeout=200)
    found = {fault: text for fault, (text, _) in facts["faults"].items()}
    print(found)
    assert found["fail:VFIO_DEVICE_SET_IRQS:ENOSPC"].startswith("SetupError: ")
    assert "No space left on device" in found["fail:VFIO_DEVICE_SET_IRQS:ENOSPC"]
    assert found["fail:map:ENOMEM"].endswith("Cannot allocate memory")
    assert found["fail:read:EIO"].startswith("DeviceError: ")
    assert "its vendor id reads as all ones" in found["lost@2"]
    assert found["slow:0.01"] == found["stuck:bar0+0x0:0x12345678"] == "survived"
    assert "the device was reset, not by this driver" in found["reset@read=bar0+0x0"]
    assert found["req"] == "signalled"
    for fault in ("drop", "dma"):
        assert found.pop(fault).startswith("UsageError: ")
        facts["faults"].pop(fault)
    assert all(happened for _, happened in facts["faults"].values()), facts
    assert facts["passed"], facts["verdict"]
