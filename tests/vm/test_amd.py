# SPDX-License-Identifier: Apache-2.0
"""AMD-Vi on a real kernel, without and with x2APIC mode: self-test, behavioural suite, doctor, PASIDs.

Each mode is one boot. QEMU lets one function's slots fire there (platforms.py), so what wants slots runs on it one
after the other. The whole behavioural suite runs by both of VFIO's interfaces in both modes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.vm.behavioural import ALONE, HUGEPAGES, IDLE, SECONDS, command, outcomes
from tests.vm.pieces import need_vm
from tests.vm.platforms import AMD, AMD_X2APIC
from tests.vm.served import Lab, bench
from tests.vm.test_matrix_platforms import messages, passes

FULL = os.environ.get("VFIO_IMS_FULL") == "1"
NIGHTLY = pytest.mark.skipif(not FULL, reason="VFIO_IMS_FULL=1 (.ci/nightly)")
INTERFACES = ("type1", "iommufd")
LEAST = 200
"""At least so many tests of the behavioural suite pass."""


@pytest.fixture(scope="module", params=[AMD, AMD_X2APIC], ids=lambda one: one.name)
def amd(request: pytest.FixtureRequest) -> Iterator[Lab]:
    need_vm()
    models = {"minimal": "minimal", "second": "minimal", "dsa": "intel-dsa"}
    lifetime = 300 + len(INTERFACES) * SECONDS
    with bench(request.param, kernel_options=[HUGEPAGES], lifetime=lifetime, **models) as lab:
        assert lab["minimal"] == "0000:00:14.0"
        yield lab


def test_every_slot_fires(amd: Lab) -> None:
    for verdict in passes(amd, "minimal", *INTERFACES):
        assert verdict == "IMS usable: 16 slots, 4 donors, remapping on"
    assert "messages: AMD-Vi index (interrupt " in messages(amd, "minimal")
    x2apic = amd.guest.platform is AMD_X2APIC
    assert ("AMD-Vi: X2APIC enabled" in amd.guest.run(["dmesg"]).stdout) is x2apic


@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("interface", INTERFACES)
def test_the_behavioural_suite_passes(amd: Lab, interface: str) -> None:
    name = amd.guest.platform.name
    file = amd.guest.rwdir / f"behaviour-{interface}.xml"
    names = [f"{amd[function]},iommu={interface}" for function in ("minimal", "second")]
    done = amd.run(command(names, file), timeout=SECONDS, idle=IDLE, env=ALONE)
    assert outcomes(f"{name}, {interface}", done, file)["passed"] >= LEAST


def test_doctor_knows_the_machine(amd: Lab) -> None:
    """What holds of AMD-Vi, and no advice that is Intel's."""
    done = amd.run(["vfio-ims", "doctor", amd["dsa"], "--json"]).check()
    found = {one["check"]: one for one in done.json["checks"]}
    assert found["present"]["status"] == "ok"
    assert "ivhd0" in found["present"]["evidence"]
    assert found["interrupt remapping"]["status"] == "ok"
    assert "IR-IO-APIC" in found["interrupt remapping"]["evidence"]
    assert "this machine has AMD-Vi" in found["scalable mode"]["evidence"]
    assert "attaches no PASIDs for VFIO" in found["scalable mode"]["cause"]
    assert "ivhd0" in found["IMS: interrupt remapping"]["evidence"]
    assert "intel_iommu" not in done.stdout
    assert not [one for one in found.values() if one["status"] == "fail"], done


def test_no_pasid_is_attached_and_the_error_says_so(amd: Lab) -> None:
    """The function has the capability. The kernel's driver makes no page table for PASIDs, with any setting."""
    by_cdev = amd.scenario("pasids", f"{amd['dsa']},iommu=iommufd")
    assert by_cdev["bits"] == 0
    assert by_cdev["plain attach"] == "no page table: Operation not supported"
    assert "Linux's driver of AMD-Vi attaches no PASIDs for VFIO" in by_cdev["refused"]
    assert "no setting of an AMD machine changes that" in by_cdev["refused"]
    assert "intel_iommu" not in by_cdev["refused"]


@NIGHTLY
def test_a_shared_address_has_every_vector() -> None:
    """Two address registers carry every vector's message, of which VT-d's would carry two."""
    need_vm()
    with bench(AMD, edma="synopsys-edma") as lab:
        for verdict in passes(lab, "edma", *INTERFACES, least=4):
            assert verdict == "IMS usable: 4 slots, 8 donors, remapping on"
        shown = lab.run(["vfio-ims", "show", lab["edma"], "--live"]).check().stdout
        assert "AMD-Vi has one address for all, and the index in the data: 8 interrupts" in " ".join(shown.split())
